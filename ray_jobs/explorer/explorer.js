"use strict";
// Sorts the tables, searches among all sites, and shows samples. It only ever sets text: no markup is made of data.
(() => {
  const SHOWN = 15, MORE = 100;
  const data = JSON.parse(document.getElementById("figures").textContent);
  const outcomes = data.outcomes, packed = data.sites;
  const number = new Intl.NumberFormat("en-US");
  const byId = (id) => document.getElementById(id);

  const names = [];
  packed.rest.forEach((rest, place) => {
    names.push(place ? names[place - 1].slice(0, packed.shared[place]) + rest : rest);
  });
  const records = names.map((_, place) => packed.counts.reduce((sum, column) => sum + column[place], 0));
  const sampled = new Map(data.sampled.map(([source, site, cell]) => [source + "\n" + site, cell]));

  const make = (kind, text, look) => {
    const element = document.createElement(kind);
    if (text !== undefined && text !== null) element.textContent = text;
    if (look) element.className = look;
    return element;
  };

  // Sites: the largest first, or as the heading that was clicked says.
  const query = byId("query"), only = byId("only"), verdict = byId("verdict"), table = byId("sites"), more = byId("more");
  let order = { key: "records", down: true }, shown = SHOWN, found = [];

  only.append(new Option("all sources", ""));
  data.sources.forEach((source, place) => only.append(new Option(source, String(place))));
  only.hidden = data.sources.length < 2;

  // The host that is meant, and a folder as it is written.
  const asked = () => {
    const text = query.value.trim().replace(/\/+$/, "");
    const host = /^[a-z][a-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([^/?#:]*)/i.exec(text);
    return [(host ? host[1] : text).toLowerCase().replace(/^www\.(?=.)/, "").replace(/\.+$/, "") || text, text];
  };

  const search = () => {
    const [host, folder] = asked(), source = only.value === "" ? null : Number(only.value);
    const wanted = folder.includes("/") && !/^https?:/i.test(folder) ? folder : host;
    found = [];
    let exact = 0, below = 0, begins = 0, trained = 0;
    const column = outcomes.findIndex(([name]) => name === "trained");
    for (let place = 0; place < names.length; place++) {
      if (source !== null && packed.source[place] !== source) continue;
      const name = names[place];
      if (wanted) {
        if (name === host || name === folder) {
          exact += records[place];
          if (column >= 0) trained += packed.counts[column][place];
        } else if (name.endsWith("." + host)) below++;
        else if (name.startsWith(host) || name.startsWith(folder)) begins++;
        else continue;
      }
      found.push(place);
    }
    verdict.className = !wanted ? "" : exact ? "yes" : "no";
    verdict.textContent = !wanted ? "" : told(wanted, exact, trained, below, begins);
    const keep = wanted ? "#site=" + encodeURIComponent(wanted) : "";
    if (location.hash !== keep) history.replaceState(null, "", keep || location.pathname + location.search);
    draw();
  };

  const told = (wanted, exact, trained, below, begins) => {
    const others = [];
    if (below) others.push(number.format(below) + " below it");
    if (begins) others.push(number.format(begins) + (begins === 1 ? " that begins so" : " that begin so"));
    const also = others.length ? " There " + (below + begins === 1 ? "is " : "are ") + others.join(" and ") + "." : "";
    if (exact) {
      const counted = number.format(exact) + (exact === 1 ? " record" : " records");
      return `Yes: ${wanted} has ${counted}, ${number.format(trained)} of them in the weights.${also}`;
    }
    const rest = data.further ? ` It may be among the ${number.format(data.further)} sites that are not on this page.` : "";
    return `No site here is called ${wanted}.${also}${also ? "" : rest}`;
  };

  const value = (place) => {
    if (order.key === "site") return names[place];
    if (order.key === "source") return data.sources[packed.source[place]];
    if (order.key === "records") return records[place];
    return packed.counts[order.key][place];
  };

  const draw = () => {
    const [host, folder] = asked(), isIt = (place) => names[place] === host || names[place] === folder;
    const sign = order.down ? -1 : 1;
    found.sort((a, b) => {
      if (host && isIt(a) !== isIt(b)) return isIt(a) ? -1 : 1;
      const x = value(a), y = value(b);
      return (x < y ? -sign : x > y ? sign : 0) || a - b;
    });
    const body = make("tbody"), most = found.reduce((top, place) => Math.max(top, records[place]), 1);
    for (const place of found.slice(0, shown)) body.append(row(place, most));
    table.replaceChildren(heading(), body);
    table.hidden = !found.length;
    more.hidden = found.length <= shown;
    more.textContent = `Show ${number.format(Math.min(MORE, found.length - shown))} more of ${number.format(found.length - shown)}`;
  };

  const heading = () => {
    const line = make("tr");
    const columns = [["site", "site"], ["source", "source"], ["records", "records"], [null, ""]];
    outcomes.forEach(([, word], place) => columns.push([place, word]));
    for (const [key, word] of columns) {
      const cell = make("th", null, typeof key === "number" ? "number roomy" : key === "records" ? "number" : key === "source" ? "roomy" : "");
      if (key === null) cell.className = "bars";
      else {
        const button = make("button", word, "sort");
        button.addEventListener("click", () => {
          order = { key, down: order.key === key ? !order.down : typeof key === "number" || key === "records" };
          draw();
        });
        cell.setAttribute("aria-sort", order.key === key ? (order.down ? "descending" : "ascending") : "none");
        cell.append(button);
      }
      line.append(cell);
    }
    const head = make("thead");
    head.append(line);
    return head;
  };

  const row = (place, most) => {
    const line = make("tr"), source = data.sources[packed.source[place]];
    const cell = sampled.get(source + "\n" + names[place]);
    const first = make("td", null, "site");
    if (cell === undefined) first.textContent = names[place];
    else {
      const button = make("button", names[place], "open");
      button.dataset.cell = cell;
      first.append(button);
    }
    const bar = make("div", null, "parts");
    outcomes.forEach(([name, word], column) => {
      const count = packed.counts[column][place];
      if (!count) return;
      const part = make("span", null, "o-" + name);
      part.style.width = (100 * count) / most + "%";
      part.title = `${word}: ${number.format(count)}`;
      bar.append(part);
    });
    const bars = make("td", null, "bars");
    bars.append(bar);
    line.append(first, make("td", source, "roomy"), make("td", number.format(records[place]), "number"), bars);
    outcomes.forEach((_, column) => {
      const count = packed.counts[column][place];
      line.append(make("td", count ? number.format(count) : "–", "number roomy"));
    });
    return line;
  };

  query.addEventListener("input", () => { shown = SHOWN; search(); });
  only.addEventListener("change", () => { shown = SHOWN; search(); });
  more.addEventListener("click", () => { shown += MORE; draw(); });
  const follow = () => {
    const hash = /^#site=(.*)$/.exec(location.hash);
    if (hash) {
      try { query.value = decodeURIComponent(hash[1]); } catch { query.value = ""; }
    }
    search();
  };
  addEventListener("hashchange", follow);
  follow();

  // The tables that were written without a script: a click on a heading sorts them.
  document.querySelectorAll("table.sorted").forEach((sorted) => {
    sorted.querySelectorAll("thead th").forEach((cell, column) => {
      const word = cell.textContent;
      if (!word) return;
      const button = make("button", word, "sort");
      let down = !cell.classList.contains("number");
      button.addEventListener("click", () => {
        down = !down;
        const key = (line) => {
          const here = line.cells[column];
          return here.dataset.value === undefined ? here.textContent : Number(here.dataset.value);
        };
        const lines = [...sorted.tBodies[0].rows];
        lines.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0) * (down ? -1 : 1));
        sorted.tBodies[0].replaceChildren(...lines);
        sorted.querySelectorAll("th").forEach((each) => each.removeAttribute("aria-sort"));
        cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      });
      cell.replaceChildren(button);
    });
  });

  // Samples.
  const dialog = byId("samples");
  const open = (cell) => {
    dialog.querySelector("h2").textContent = cell.title;
    const inside = dialog.querySelector("div");
    inside.replaceChildren(make("p", cell.source + " · " + (cell.samples.length === 1 ? "one sample" : cell.samples.length + " samples"), "soft"));
    for (const sample of cell.samples) {
      const article = make("article");
      article.append(make("p", sample.fate.filter(Boolean).join(": ") + " · " + sample.about.filter(Boolean).join(" · "), "about"));
      if (sample.text === null) article.append(make("p", "Its text is not kept.", "soft"));
      else article.append(make("pre", sample.text + (sample.cut ? " …" : "")));
      article.append(make("p", sample.place + (sample.id ? "\nheadrace trace " + sample.id : ""), "code soft"));
      inside.append(article);
    }
    dialog.showModal();
    dialog.scrollTop = 0;
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.open");
    if (button) open(data.samples[Number(button.dataset.cell)]);
    else if (event.target === dialog) dialog.close();
  });
})();
