// Tables are sorted by clicking on a head: up first, then down. What has no value stays at the end.
const key = (row, column) => {
  const text = row.cells[column].textContent.trim();
  if (text === "–" || text === "") return null;
  const number = Number(text.replace("%", "").replace("∞", "Infinity"));
  return Number.isNaN(number) ? text : number;
};

const compare = (a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (head.tagName !== "TH") return;
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => ({ row, value: key(row, column) }));
      const there = rows.filter((entry) => entry.value !== null);
      there.sort((a, b) => (falling ? compare(b.value, a.value) : compare(a.value, b.value)));
      body.append(...there.map((entry) => entry.row), ...rows.filter((entry) => entry.value === null).map((entry) => entry.row));
    });
  });
}

// A nucleus in a table shows itself in the pictures of its stack.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-at]");
  if (!button) return;
  const name = button.closest("tr").cells[0].textContent;
  const section = [...document.querySelectorAll("section.stack")].find((s) => s.querySelector("h3").textContent === name);
  section.dispatchEvent(new CustomEvent("show", { detail: button.dataset.at.split(",").map(Number) }));
  section.scrollIntoView();
});

// On paper nothing can be opened: everything is.
let closed = [];
window.addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const details of closed) details.open = true;
});
window.addEventListener("afterprint", () => {
  for (const details of closed) details.open = false;
});
