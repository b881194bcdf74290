"use strict";
(() => {
  const PAGE = 10, LONG = 10;

  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // What is missing comes last in both directions; sorting is stable, so equal rows stay as they were.
  const order = (key, sign) => (a, b) => {
    const x = key(a), y = key(b);
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true }));
  };

  const sortable = (heading, sort) => {
    const button = make("button", { type: "button" }, ...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      sort(sign);
    });
  };

  const tables = () => {
    for (const table of document.querySelectorAll("table.data")) {
      const body = table.tBodies[0], rows = [...body.rows];
      [...table.tHead.rows[0].cells].forEach((heading, column) => {
        const key = (row) => {
          const cell = row.cells[column];
          if ("missing" in cell.dataset) return null;
          return "number" in cell.dataset ? Number(cell.dataset.number) : cell.textContent;
        };
        sortable(heading, (sign) => {
          body.append(...rows.sort(order(key, sign)));
          if (rows.length > LONG) rows.forEach((row, place) => row.classList.toggle("more", place >= LONG));
        });
      });
      if (rows.length <= LONG) continue;
      const find = make("input", { type: "search", placeholder: "Filter rows", ariaLabel: "Filter rows" });
      const count = make("output", { textContent: `${rows.length} rows` });
      find.addEventListener("input", () => {
        const wanted = find.value.toLowerCase();
        for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
        table.parentElement.classList.toggle("filtered", wanted !== "");
        count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
      });
      table.parentElement.before(make("div", { className: "controls" }, find, count));
    }
  };

  // The passages of these queries are on the page already.
  const panel = (id) => {
    const example = [...document.querySelectorAll(".example")].find((one) => one.dataset.query === id);
    return example.querySelector(".passages").cloneNode(true);
  };

  const queries = () => {
    const data = JSON.parse(document.getElementById("query-data").textContent);
    const examples = new Map(Object.entries(data.texts));
    const { ids, systems } = data, opened = new Set();
    let chosen = Math.max(systems.indexOf(data.pair[0]), 0), baseline = Math.max(systems.indexOf(data.pair[1]), 0);
    let at = 0, places = [];

    const select = (system, change) => {
      const box = make("select", {}, ...systems.map((name, number) => make("option", { textContent: name, value: number })));
      box.value = system;
      box.addEventListener("change", () => {
        change(Number(box.value));
        choose();
      });
      return box;
    };
    const find = make("input", { type: "search", placeholder: "Find by id or text", ariaLabel: "Find queries" });
    const only = make("input", { type: "checkbox" });
    const headings = make("tr", {}), body = make("tbody", {}), shown = make("output", {});
    const turns = [["Previous", -PAGE], ["Next", PAGE]].map(([label, by]) => {
      const button = make("button", { type: "button", textContent: label });
      button.addEventListener("click", () => {
        at += by;
        render();
      });
      return button;
    });

    const value = (system) => (place) => data.values[system][place];
    const difference = (place) => {
      const a = data.values[chosen][place], b = data.values[baseline][place];
      return a === null || b === null ? null : a - b;
    };
    const columns = [["query", (place) => ids[place]], ["difference", difference], ...systems.map((name, number) => [name, value(number)])];
    let sorted = { key: difference, sign: -1 };
    const signed = (number) => (number < 0 ? "−" : number > 0 ? "+" : "") + Math.abs(number).toFixed(4);

    const rowsOf = (place) => {
      const text = examples.get(ids[place]), first = make("td", {});
      const row = make("tr", {}, first);
      const name = make(text !== undefined ? "button" : "span", { textContent: ids[place] });
      first.append(name);
      if (text !== undefined) first.append(make("span", { className: "asked", textContent: text }));
      const gap = difference(place);
      row.append(make("td", {
        className: `number ${gap > 0 ? "better" : gap < 0 ? "worse" : ""}`, textContent: gap === null ? "–" : signed(gap) }));
      for (const values of data.values) {
        const number = values[place];
        const cell = make("td", { className: "number", textContent: number === null ? "–" : number.toFixed(4) });
        cell.style.background = number > 0 ? `rgb(31 95 139 / ${0.3 * Math.min(number, 1)})` : "";
        row.append(cell);
      }
      if (text === undefined) return [row];
      const isOpen = opened.has(place);
      Object.assign(name, { type: "button", className: "open", ariaExpanded: String(isOpen) });
      name.dataset.place = place;
      name.addEventListener("click", () => {
        if (!opened.delete(place)) opened.add(place);
        render();
        body.querySelector(`button[data-place="${place}"]`).focus();
      });
      if (!isOpen) return [row];
      return [row, make("tr", { className: "panel" }, make("td", { colSpan: columns.length }, panel(ids[place])))];
    };

    const render = () => {
      body.replaceChildren(...places.slice(at, at + PAGE).flatMap(rowsOf));
      const end = Math.min(at + PAGE, places.length);
      turns[0].disabled = at === 0;
      turns[1].disabled = end === places.length;
      shown.textContent = places.length ? `${at + 1} to ${end} of ${places.length} queries` : "no such query";
    };

    const choose = () => {
      const wanted = find.value.toLowerCase();
      places = [...ids.keys()].filter((place) => {
        const text = examples.get(ids[place]);
        return (text !== undefined || !only.checked) && `${ids[place]} ${text ?? ""}`.toLowerCase().includes(wanted);
      });
      places.sort(order(sorted.key, sorted.sign));
      at = 0;
      render();
    };

    columns.forEach(([name, key], column) => {
      const heading = make("th", { scope: "col", className: column ? "number" : "", textContent: name });
      headings.append(heading);
      sortable(heading, (sign) => {
        sorted = { key, sign };
        choose();
      });
    });
    headings.cells[1].setAttribute("aria-sort", "descending");
    find.addEventListener("input", choose);
    only.addEventListener("change", choose);
    const controls = make("div", { className: "controls" }, find,
      make("label", {}, "difference of ", select(chosen, (system) => { chosen = system; })),
      make("label", {}, "to ", select(baseline, (system) => { baseline = system; })));
    if (examples.size) controls.append(make("label", {}, only, " only those that open"));
    document.getElementById("queries").replaceChildren(
      controls, make("div", { className: "wide" }, make("table", { ariaLabel: "Queries" }, make("thead", {}, headings), body)),
      make("div", { className: "controls" }, turns[0], shown, turns[1]));
    choose();
  };

  const graph = () => {
    const drawing = document.querySelector("svg.stages");
    const boxes = [...drawing.querySelectorAll(".stage")], lines = [...drawing.querySelectorAll(".line")];
    const parents = boxes.map((box) => box.dataset.parents.split(" ").filter(Boolean).map(Number));
    let kept = null;
    const show = (place) => {
      const on = new Set(), open = place === null ? [] : [place];
      while (open.length) {
        const next = open.pop();
        if (!on.has(next)) {
          on.add(next);
          open.push(...parents[next]);
        }
      }
      drawing.classList.toggle("chosen", place !== null);
      boxes.forEach((box, number) => box.classList.toggle("on", on.has(number)));
      for (const line of lines) line.classList.toggle("on", on.has(Number(line.dataset.child)));
    };
    const keep = (place) => {
      kept = kept === place ? null : place;
      boxes.forEach((box, number) => box.setAttribute("aria-pressed", String(number === kept)));
      show(kept);
    };
    boxes.forEach((box, place) => {
      box.addEventListener("pointerenter", () => { if (kept === null) show(place); });
      box.addEventListener("pointerleave", () => show(kept));
      box.addEventListener("click", () => keep(place));
      box.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        keep(place);
      });
    });
  };

  const contents = () => {
    const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
    const seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting) links.get(target.id).setAttribute("aria-current", "true");
        else links.get(target.id).removeAttribute("aria-current");
      }
    }, { rootMargin: "-15% 0% -75% 0%" });
    for (const id of links.keys()) seen.observe(document.getElementById(id));
  };

  // What is closed is opened for paper, and closed again after it.
  const paper = () => {
    let opened = [];
    addEventListener("beforeprint", () => {
      opened = [...document.querySelectorAll("details:not([open])")];
      for (const one of opened) one.open = true;
    });
    addEventListener("afterprint", () => {
      for (const one of opened) one.open = false;
    });
  };

  paper();
  tables();
  queries();
  graph();
  contents();
})();
