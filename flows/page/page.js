"use strict";
// The browser of examples. Every text of the data enters the page by textContent, never as HTML.
(() => {
  const examples = JSON.parse(document.getElementById("data").textContent).examples;
  const at = (name) => document.getElementById(name);
  const controls = { language: at("language"), label: at("label"), reason: at("reason"), score: at("score"), search: at("search") };
  const [list, more, found, lostButton, links] = [at("list"), at("more"), at("found"), at("lost"), at("links")];
  const PAGE = 25;
  let chosen = [];
  let shown = 0;

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  const isLost = (example) => example.reasons.length > 0;
  const searchable = examples.map((example) =>
    [example.id, ...example.fields.flatMap(([, source, target]) => [source, target])].join("\n").toLocaleLowerCase());

  const fill = (select, values) => {
    const numbers = new Map();
    for (const value of values) numbers.set(value, (numbers.get(value) || 0) + 1);
    for (const [value, number] of [...numbers].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const option = make("option", "", `${value} (${number})`);
      option.value = value;
      select.append(option);
    }
    select.disabled = numbers.size === 0;
  };
  const labelsOf = (example) => [...new Set(example.spans.map((span) => span.label))];
  fill(controls.language, examples.map((example) => example.language));
  fill(controls.label, examples.flatMap(labelsOf));
  fill(controls.reason, examples.flatMap((example) => example.reasons));

  // The linked tokens of one side of a field: where they are, and with which of the other side.
  const linked = (flat, side) => {
    const tokens = new Map();
    for (let index = 0; index < flat.length; index += 4) {
      const ends = [flat.slice(index, index + 2), flat.slice(index + 2, index + 4)];
      const [own, other] = side === "source" ? ends : ends.reverse();
      if (!tokens.has(String(own))) tokens.set(String(own), { from: own[0], to: own[1], name: String(own), others: [] });
      tokens.get(String(own)).others.push(String(other));
    }
    return [...tokens.values()];
  };
  const word = (token, text, first) => {
    const element = make("span", "token", text);
    element.dataset.token = token.name;
    element.dataset.others = token.others.join(" ");
    if (first) {
      element.tabIndex = -1;
      element.setAttribute("role", "note");
    }
    return element;
  };

  // Offsets count code points, JavaScript's strings count UTF-16 units.
  const marked = (text, spans, side, tokens) => {
    const characters = Array.from(text);
    const paragraph = make("p", "text");
    paragraph.dir = "auto";
    const placed = spans.filter(({ span }) => span[side]).map((each) => ({ ...each, from: each.span[side][0], to: each.span[side][1] }));
    const ends = [...placed, ...tokens].flatMap(({ from, to }) => [from, to]);
    const cuts = [...new Set([0, characters.length, ...ends])].sort((a, b) => a - b);
    // Wider spans go around narrower ones; where spans cross, the one that began first is cut.
    placed.sort((a, b) => a.from - b.from || b.to - a.to);
    const open = [{ element: paragraph, to: Infinity }];
    cuts.slice(0, -1).forEach((cut, index) => {
      const next = cuts[index + 1];
      const covering = placed.filter(({ from, to }) => from <= cut && next <= to);
      let keep = 1;
      while (keep < open.length && covering[keep - 1] === open[keep].mark) keep += 1;
      open.length = keep;
      for (const mark of covering.slice(keep - 1)) {
        const element = make("span", `span${mark.lost ? " gone" : ""}`);
        element.dataset.span = mark.number;
        element.style.setProperty("--mine", `var(--s${mark.number % 8})`);
        if (mark.from === cut) {
          element.tabIndex = 0;
          element.setAttribute("aria-label", `${characters.slice(mark.from, mark.to).join("")}, ${mark.span.label}${mark.lost ? ", lost" : ""}`);
          element.setAttribute("role", "note");
        }
        open.at(-1).element.append(element);
        open.push({ element, mark });
      }
      const words = characters.slice(cut, next).join("");
      const token = tokens.find(({ from, to }) => from <= cut && next <= to);
      open.at(-1).element.append(token ? word(token, words, token.from === cut) : document.createTextNode(words));
      for (let depth = open.length - 1; depth > 0; depth -= 1) {
        if (open[depth].mark.to === next) {
          const name = make("span", "name", open[depth].mark.span.label);
          name.setAttribute("aria-hidden", "true");
          open[depth].element.append(name);
        }
      }
    });
    return paragraph;
  };

  const percent = (value) => (value === null || value === undefined ? "" : value.toFixed(2));

  const note = (example, span) => {
    const [, source, target] = example.fields[span.field];
    const words = span.source ? Array.from(source).slice(...span.source).join("") : Array.from(target).slice(...span.target).join("");
    const line = make("li");
    line.append(make("bdi", "", words), ` ${span.label}: `);
    if (span.reason) {
      line.append(make("span", "why", `lost, ${span.reason}${span.detail ? ` (${span.detail})` : ""}`));
    } else {
      const facts = [span.method];
      if (percent(span.score)) facts.push(`score ${percent(span.score)}`);
      if (percent(span.confidence)) facts.push(`confidence ${percent(span.confidence)}`);
      line.append(facts.join(", "));
    }
    if (span.votes.length) {
      line.append("; votes: ");
      span.votes.forEach(([method, words], index) => {
        line.append(index ? ", " : "", `${method} `, make("bdi", "", words === null ? "no place" : words));
      });
    }
    return line;
  };

  const draw = (example) => {
    const article = make("article", `example${isLost(example) ? " lost" : ""}`);
    article.tabIndex = -1;
    const header = make("header");
    header.append(make("h3", "", example.id), make("span", "", `${example.language} · ${example.split}`));
    header.append(make("span", isLost(example) ? "why" : "", `${example.kept ? "kept" : "dropped"}${isLost(example) ? `: ${example.reasons.join(", ")}` : ""}`));
    if (example.score !== null) header.append(make("span", "", `lowest score ${percent(example.score)}`));
    for (const [name, value] of Object.entries(example.labels)) header.append(make("span", "", `${name}: ${value}`));
    if (example.flags.length) header.append(make("span", "", example.flags.join(", ")));
    article.append(header);
    example.fields.forEach(([name, source, target], field) => {
      const spans = example.spans
        .map((span, number) => ({ span, number, lost: Boolean(span.reason) }))
        .filter(({ span }) => span.field === field);
      const pair = make("div", "pair");
      [["source", source], ["target", target]].forEach(([side, text], index) => {
        const half = make("div", "side");
        half.append(make("span", "tag", example.tags[index] + (example.fields.length > 1 ? ` · ${name}` : "")));
        const paragraph = marked(text, spans, side, linked(example.links[field] || [], side));
        paragraph.lang = example.tags[index];
        half.append(paragraph);
        pair.append(half);
      });
      article.append(pair);
    });
    const notes = make("ul", "notes");
    notes.append(...example.spans.map((span) => note(example, span)), ...example.verdicts.map((verdict) => make("li", "", verdict)));
    if (notes.childElementCount) article.append(notes);
    return article;
  };

  const showMore = () => {
    list.append(...chosen.slice(shown, shown + PAGE).map(draw));
    shown = Math.min(shown + PAGE, chosen.length);
    more.hidden = shown === chosen.length;
    found.textContent = `${chosen.length} of ${examples.length} sampled examples${shown < chosen.length ? `, the first ${shown} shown` : ""}.`;
  };

  const choose = () => {
    const most = Number(controls.score.value);
    const words = controls.search.value.toLocaleLowerCase();
    const onlyLost = lostButton.getAttribute("aria-pressed") === "true";
    controls.score.nextElementSibling.textContent = most < 1 ? most.toFixed(2) : "any";
    const fitting = examples.filter((example, index) =>
      (!controls.language.value || example.language === controls.language.value) &&
      (!controls.label.value || labelsOf(example).includes(controls.label.value)) &&
      (!controls.reason.value || example.reasons.includes(controls.reason.value)) &&
      (most >= 1 || (example.score !== null && example.score <= most)) &&
      searchable[index].includes(words));
    const lost = fitting.filter(isLost);
    chosen = onlyLost ? lost : fitting;
    lostButton.textContent = `Only lost (${lost.length})`;
    link(null);
    list.replaceChildren();
    shown = 0;
    showMore();
  };

  const reset = () => {
    for (const control of Object.values(controls)) control.value = control === controls.score ? "1" : "";
    lostButton.setAttribute("aria-pressed", "false");
    choose();
  };

  // Lines between the two places of a span, or of a word; what is on the screen decides where they run.
  const unlink = () => {
    links.replaceChildren();
    for (const element of document.querySelectorAll(".on")) element.classList.remove("on");
  };
  const shape = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    links.append(element);
  };
  const connect = (one, other, number = 0) => {
    const [from, to] = one.closest(".side").nextElementSibling ? [one, other] : [other, one];
    const [a, b] = [from, to].map((each) => each.getClientRects()[0]);
    const [left, right] = [from, to].map((each) => each.closest(".side").getBoundingClientRect());
    const [x1, y1, x2, y2] = [a.left + a.width / 2, a.bottom, b.left + b.width / 2, b.bottom];
    // Below the lines of text and through the gap between the columns, so that no word is struck out.
    const gap = (left.bottom <= right.top ? left.left - 6 : (left.right + right.left) / 2) + 4 * number;
    shape("path", { d: `M${x1} ${y1} V${y1 + 5} H${gap} V${y2 + 5} H${x2} V${y2}` });
    shape("circle", { cx: x1, cy: y1, r: 3 });
    shape("circle", { cx: x2, cy: y2, r: 3 });
  };
  const linkSpan = (span) => {
    const same = [...span.closest(".example").querySelectorAll(`[data-span="${span.dataset.span}"]`)];
    for (const each of same) each.classList.add("on");
    return [false, true].map((first) => same.find((each) => Boolean(each.closest(".side").nextElementSibling) === first));
  };
  const linkWord = (token) => {
    const side = token.closest(".side");
    const other = side.nextElementSibling || side.previousElementSibling;
    const pieces = (half, name) => [...half.querySelectorAll(`[data-token="${name}"]`)];
    const partners = token.dataset.others.split(" ").map((name) => pieces(other, name));
    for (const each of [...pieces(side, token.dataset.token), ...partners.flat()]) each.classList.add("on");
    partners.forEach(([partner], number) => connect(pieces(side, token.dataset.token)[0], partner, number));
    return partners.map((found) => found.map((each) => each.textContent).join(""));
  };
  // A word within a span shows its own links, and only outlines where the span went.
  let current = null;
  const link = (element) => {
    unlink();
    current = element;
    const [span, token] = [".span", ".token"].map((kind) => element?.closest?.(kind));
    const places = span ? linkSpan(span) : [];
    if (token) token.setAttribute("aria-label", `${token.textContent}, linked with ${linkWord(token).join(", ")}`);
    else if (places[0] && places[1]) connect(...places);
  };
  list.addEventListener("mouseover", (event) => link(event.target));
  list.addEventListener("mouseleave", () => link(null));
  list.addEventListener("focusin", (event) => link(event.target));
  list.addEventListener("focusout", () => link(null));
  addEventListener("scroll", () => link(current), { passive: true });
  addEventListener("resize", () => link(current));

  // In the order of reading, source before target, whichever way the text runs.
  const goToWord = (step) => {
    const here = document.activeElement;
    const words = [...here.closest(".example").querySelectorAll(".token[tabindex]")];
    const inside = words.findIndex((each) => each === here || here.matches(".span") && here.contains(each));
    const next = here.matches(".token") || step < 0 ? inside + step : Math.max(inside, 0);
    words[next]?.focus();
  };
  const go = (step) => {
    const articles = [...list.children];
    const here = articles.indexOf(document.activeElement?.closest?.(".example"));
    if (here + step >= articles.length && shown < chosen.length) {
      showMore();
      return go(step);
    }
    const next = list.children[Math.min(Math.max(here + step, 0), list.children.length - 1)];
    next?.focus({ preventScroll: true });
    next?.scrollIntoView({ block: "nearest" });
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = document.activeElement?.matches?.("input, select");
    if (event.key === "Escape") {
      document.activeElement?.blur?.();
      reset();
    } else if (typing) {
      return;
    } else if (event.key === "/") {
      controls.search.focus();
    } else if (event.key === "l") {
      lostButton.click();
    } else if (event.key === "j" || (event.key === "ArrowDown" && document.activeElement?.closest?.(".example"))) {
      go(1);
    } else if (event.key === "k" || (event.key === "ArrowUp" && document.activeElement?.closest?.(".example"))) {
      go(-1);
    } else if ((event.key === "ArrowRight" || event.key === "ArrowLeft") && document.activeElement?.closest?.(".example")) {
      goToWord(event.key === "ArrowRight" ? 1 : -1);
    } else {
      return;
    }
    event.preventDefault();
  });

  lostButton.addEventListener("click", () => {
    lostButton.setAttribute("aria-pressed", String(lostButton.getAttribute("aria-pressed") !== "true"));
    choose();
  });
  for (const control of Object.values(controls)) control.addEventListener("input", choose);
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", showMore);
  choose();
})();
