"use strict";
// Without this script the page is one long page. With it each list shows one entry at a time.
document.documentElement.classList.add("js");
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const search = document.getElementById("search");
const links = all(".list a");
const piles = all(".pile");
const lists = all("[data-pager]").map((root) => ({ root, items: all("[data-item]", root), at: 0 }));
const listOf = (root) => lists.find((list) => list.root === root);
const cards = all("article.card").map((card) => ({
  card, parts: all("[data-find]", card).map((part) => ({ part, words: part.textContent })),
}));
const many = cards.length.toLocaleString("en");
let chosen = piles.find((pile) => pile.querySelector("[data-item]")) ?? piles[0];
let hits = []; // cards, each with its parts that have the words
let here = -1; // of the hits
let before = { focus: null, y: 0 }; // the search
let pause = 0;
let opened = []; // details with the only hit of their card
let seen = new Set();

function wanted() {
  const text = search.value.trim().replace(/[\\^$.*+?()[\]{}|]/g, "\\$&").replace(/\s+/g, "\\s+");
  return text ? new RegExp(text, "giu") : null;
}

// The hits in a part of the page, as ranges; they may cross marks.
function ranges(part, pattern, most) {
  const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
  const starts = [];
  let text = "";
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    starts.push([node, text.length]);
    text += node.data;
  }
  const found = [];
  for (const match of text.matchAll(pattern)) {
    if (found.length === most) break;
    const end = match.index + match[0].length;
    const [first, last] = [match.index, end - 1].map((at) => starts.findLast(([, start]) => start <= at));
    const range = new Range();
    range.setStart(first[0], match.index - first[1]);
    range.setEnd(last[0], end - last[1]);
    found.push(range);
  }
  return found;
}

// More would make a browser slow.
const LIT = 500;
// Milliseconds without a key, after which the first hit comes into view.
const PAUSE = 700;

function light(pattern) {
  if (!window.Highlight || !CSS.highlights) return;
  const lit = [];
  for (const part of pattern ? hits.flatMap(({ parts }) => parts) : []) {
    if (lit.length >= LIT) break;
    lit.push(...ranges(part, pattern, LIT - lit.length));
  }
  CSS.highlights.set("found", new Highlight(...lit));
  CSS.highlights.delete("here");
}

// To the next hit; the focus stays where it is.
function go() {
  clearTimeout(pause);
  if (!hits.length) return;
  here = (here + 1) % hits.length;
  const part = hits[here].parts[0];
  const [range] = ranges(part, wanted(), 1);
  const top = () => range.getBoundingClientRect().top;
  part.scrollTop += top() - part.getBoundingClientRect().top - part.clientHeight / 2;
  scrollBy(0, top() - innerHeight / 2);
  if (window.Highlight && CSS.highlights) CSS.highlights.set("here", new Highlight(range));
  tell();
}

function tell() {
  const count = hits.length.toLocaleString("en");
  const at = here < 0 ? "" : `, this is number ${here + 1}`;
  const next = hits.length > 1 || here < 0 ? `Enter shows the ${here < 0 ? "first" : "next"}, ` : "";
  document.getElementById("found").textContent = !wanted() ? "" : hits.length
    ? `${count} of the ${many} drawn texts${at}. ${next}Escape returns.`
    : `No hit in the ${many} drawn texts. The page has only these, not every document of the run.`;
}

function leave() {
  search.value = "";
  draw();
  scrollTo(0, before.y);
}

// A long text scrolls in a box of its own: to what is marked in it.
function reveal(body) {
  const mark = body.querySelector("mark, .only");
  if (!mark) return;
  const below = mark.getBoundingClientRect().bottom - body.getBoundingClientRect().bottom;
  if (below > 0) body.scrollTop += below + body.clientHeight / 2;
}

function draw() {
  const pattern = wanted();
  clearTimeout(pause);
  hits = [];
  here = -1;
  for (const details of opened) details.open = false;
  opened = [];
  for (const { card, parts } of pattern ? cards : []) {
    const found = parts.filter(({ words }) => words.search(pattern) >= 0).map(({ part }) => part);
    if (found.length) hits.push({ card, parts: found });
    const details = found[0]?.closest("details:not([open])");
    if (details) opened.push(details);
  }
  for (const details of opened) details.open = true;
  for (const { root, items, at } of lists) {
    items.forEach((item, place) => {
      item.hidden = pattern ? !hits.some(({ card }) => item.contains(card)) : place !== at;
    });
    if (piles.includes(root)) {
      root.hidden = pattern ? items.every((item) => item.hidden) : root !== chosen;
    }
    const [back, next] = all("button[data-step]", root);
    const place = root.querySelector(".place");
    back.disabled = at === 0;
    next.disabled = at >= items.length - 1;
    place.textContent = `${place.dataset.what} ${at + 1} of ${items.length}`;
    place.parentElement.hidden = Boolean(pattern) || items.length < 2;
  }
  for (const link of links) {
    const current = !pattern && chosen && link.hash === `#${chosen.id}`;
    current ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
  }
  light(pattern);
  tell();
  if (pattern) return;
  const now = new Set(all("[data-item] .body").filter((body) => body.checkVisibility()));
  for (const body of now) if (!seen.has(body)) reveal(body);
  seen = now;
}

function turn(list, step) {
  const at = list.at + step;
  if (search.value || at < 0 || at >= list.items.length) return;
  list.at = at;
  draw();
}

function choose(hash, jump) {
  const pile = piles.find((each) => `#${each.id}` === hash);
  if (!pile) return;
  chosen = pile;
  search.value = "";
  draw();
  if (!jump) return;
  pile.scrollIntoView();
  pile.querySelector("h3").focus({ preventScroll: true });
}

function copy(button) {
  const done = () => {
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy id"), 1500);
  };
  navigator.clipboard.writeText(button.dataset.id).then(done, () => {
    button.textContent = "Not allowed";
  });
}

document.addEventListener("click", (event) => {
  const { target } = event;
  const link = target.closest("a[href^='#pile-']");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    // The browser's own jump would take the focus from the heading.
    event.preventDefault();
    if (link.hash !== location.hash) history.pushState(null, "", link.hash);
    choose(link.hash, true);
  }
  const button = target.closest("button");
  if (button?.dataset.step) turn(listOf(button.closest("[data-pager]")), Number(button.dataset.step));
  else if (button?.dataset.id !== undefined) copy(button);
});

// The list whose texts the arrows turn: where the focus is, else what fills most of the window.
function inView(target) {
  const height = ({ root }) => {
    const { top, bottom } = root.getBoundingClientRect();
    return Math.min(bottom, innerHeight) - Math.max(top, 0);
  };
  const seen = lists.filter((list) => list.items.length > 1 && height(list) > 0);
  const most = seen.reduce((best, list) => (best && height(best) >= height(list) ? best : list), null);
  return seen.find(({ root }) => root.contains(target)) ?? most;
}

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (key === "Escape" && (search.value || target === search)) {
    // A browser would empty the field by itself, and stay where it is.
    event.preventDefault();
    leave();
    before.focus ? before.focus.focus({ preventScroll: true }) : search.blur();
  }
  if (target === search) return;
  const sideways = { ArrowLeft: -1, ArrowRight: 1 }[key];
  const at = links.indexOf(target);
  const place = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: links.length - 1 }[key];
  if (key === "/") {
    event.preventDefault();
    search.focus({ preventScroll: true }); // the field stays on top
    search.select();
  } else if (sideways) {
    const wide = target.closest(".scroll");
    if (wide && wide.scrollWidth > wide.clientWidth) return;
    const list = inView(target);
    if (!list) return;
    event.preventDefault();
    turn(list, sideways);
  } else if (place !== undefined && at >= 0) {
    event.preventDefault();
    const link = links[place];
    if (!link) return;
    link.focus();
    history.replaceState(null, "", link.hash);
    choose(link.hash, false);
  }
});

search.form.addEventListener("submit", (event) => {
  event.preventDefault();
  go();
});
search.addEventListener("focus", (event) => {
  if (!search.value) before = { focus: event.relatedTarget, y: scrollY };
});
search.addEventListener("input", () => {
  if (!search.value) return leave();
  draw();
  pause = setTimeout(go, PAUSE);
});
addEventListener("hashchange", () => choose(location.hash, true));
draw();
choose(location.hash, true);
