"use strict";
// The operator sheet: a field above its table, which hides the rows that hold none of the words typed.
(function () {
  const heading = document.querySelector("h1");
  if (!heading || !heading.textContent.startsWith("Operators")) return;
  const table = document.querySelector(".md-content table");
  const field = document.createElement("input"), found = document.createElement("p");
  field.type = "search";
  field.placeholder = "operator, domain, word of the formula";
  field.setAttribute("aria-label", "search the operators");
  field.className = "search-in-table";
  const box = table.closest(".md-typeset__scrollwrap") || table;
  box.before(field, found);
  const rows = [...table.querySelectorAll("tbody tr")];
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    found.textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length}` : "";
  });
})();
