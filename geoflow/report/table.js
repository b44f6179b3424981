// Sorts the list of videos by any column, and hides what a search does not find.
"use strict";
(() => {
  document.documentElement.classList.add("js");
  const table = document.querySelector("table.videos");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const words = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  const keyOf = (row, column) => row.cells[column]?.dataset.key;
  // What is missing comes last, whichever way the others are sorted.
  const compare = (a, b, sign) => {
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    const [x, y] = [Number(a), Number(b)];
    return sign * (a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y) ? x - y : words.compare(a, b));
  };

  const sortBy = (column) => {
    const head = heads[column];
    const before = head.getAttribute("aria-sort");
    const first = head.classList.contains("number") ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    const next = before === first ? second : before === second ? null : first; // the third time: as written
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    if (next) head.setAttribute("aria-sort", next);
    const sign = next === "descending" ? -1 : 1;
    rows.sort((a, b) => (next && compare(keyOf(a, column), keyOf(b, column), sign)) || a.dataset.order - b.dataset.order);
    body.append(...rows);
  };
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sortBy(column)));

  const search = document.querySelector(".search input");
  if (!search) return;
  const found = document.querySelector(".search output");
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      row.hidden = !wanted.every((word) => texts.get(row).includes(word));
      count += !row.hidden;
    }
    found.textContent = wanted.length ? `${count} of ${rows.length}` : "";
  });
})();
