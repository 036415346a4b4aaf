"use strict";
// Without this script the page is one long page. With it each list shows one entry at a time.
document.documentElement.classList.add("js");
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const search = document.getElementById("search");
const links = all(".list a");
const piles = all(".pile");
const lists = all("[data-pager]").map((root) => ({ root, items: all("[data-item]", root), at: 0 }));
const listOf = (root) => lists.find((list) => list.root === root);
const words = new Map(
  lists.flatMap((list) => list.items).map((item) => [
    item, all("[data-find]", item).map((part) => part.textContent).join("\n"),
  ]),
);
let chosen = piles.find((pile) => pile.querySelector("[data-item]")) ?? piles[0];
let hits = [];
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

function light(pattern) {
  if (!window.Highlight || !CSS.highlights) return;
  const lit = [];
  for (const part of pattern ? hits.flatMap((item) => all("[data-find]", item)) : []) {
    if (lit.length >= LIT) break;
    const here = ranges(part, pattern, LIT - lit.length);
    if (here.length && part.closest("details")) part.closest("details").open = true;
    lit.push(...here);
  }
  CSS.highlights.set("found", new Highlight(...lit));
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
  hits = [];
  for (const { root, items, at } of lists) {
    items.forEach((item, place) => {
      const found = pattern && words.get(item).search(pattern) >= 0;
      item.hidden = pattern ? !found : place !== at;
      if (found) hits.push(item);
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
  document.getElementById("found").textContent = pattern ? `${hits.length} of ${words.size}` : "";
  light(pattern);
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

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (target === search) {
    if (key === "Escape") {
      search.value = "";
      draw();
    }
    return;
  }
  const sideways = { ArrowLeft: -1, ArrowRight: 1 }[key];
  const upright = { ArrowUp: -1, ArrowDown: 1 }[key];
  if (key === "/") {
    event.preventDefault();
    search.focus();
    search.select();
  } else if (sideways) {
    const middle = ({ root }) => {
      const { top, bottom } = root.getBoundingClientRect();
      return top < innerHeight / 2 && bottom > innerHeight / 2;
    };
    const list = listOf(target.closest("[data-pager]")) ?? lists.find(middle);
    if (list) turn(list, sideways);
  } else if (upright && links.includes(target)) {
    event.preventDefault();
    const link = links[links.indexOf(target) + upright];
    if (!link) return;
    link.focus();
    history.replaceState(null, "", link.hash);
    choose(link.hash, false);
  }
});

let next = -1;
search.form.addEventListener("submit", (event) => {
  event.preventDefault();
  next = (next + 1) % (hits.length || 1);
  hits[next]?.scrollIntoView({ block: "center" });
});
search.addEventListener("input", () => {
  next = -1;
  draw();
});
addEventListener("hashchange", () => choose(location.hash, true));
draw();
choose(location.hash, true);
