// @ts-check
// Draws the coverage page. What it shows comes from the packed table alone (etl/report/page_data.py tells the form) and
// gets onto the page as text and squares, never as markup.
"use strict";

(async () => {
  const HOUR_MS = 3_600_000;
  const DAY_HOURS = 24;
  const OUTSIDE = 255;
  const COMPLETE = 0;
  const NAME = /\0/g;
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const LEVELS = [12, 6, 3, 1]; // months in a row of squares, from the coarsest
  const VOLUME_STEPS = [0.1, 0.4, 0.7, 1, 1.4, 2];
  const ROWS_AT_ONCE = 100;
  const SMALLEST = 2; // the side of a square in CSS pixels, gaps included
  const LEGIBLE = 3;
  const LARGEST = 16;
  const MONTH_WIDTH = 400; // of a month alone, about
  const BLOCK_GAP = 20;
  const PIXELS_AT_ONCE = 16_000_000;

  const $ = (id) => document.getElementById(id);

  // ---------------------------------------------------------------------------------------------------- the data
  async function unpack() {
    const text = atob($("packed").textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).json();
  }

  performance.mark("unpack");
  let data;
  try {
    data = await unpack();
  } catch (error) {
    $("trouble").querySelector("p").textContent = "The squares cannot be drawn: this browser is too old, or the file was changed or cut short. The totals below hold.";
    return;
  }
  $("trouble").hidden = true;
  const count = data.count;
  const status = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    status[i] = data.status[i] === "." ? OUTSIDE : data.status.charCodeAt(i) - 48;
  }
  for (const name of ["next_try", "finished"]) data[name] = cumulated(data[name]);

  function cumulated(steps) {
    let before = 0;
    return steps.map((step) => (step === null ? null : (before += step)));
  }

  const dateOf = (i) => new Date((data.first + i) * HOUR_MS);
  const yearOf = (i) => dateOf(i).getUTCFullYear();
  const indexOf = (ms) => Math.floor(ms / HOUR_MS) - data.first;
  const inside = (i) => i >= 0 && i < count && status[i] !== OUTSIDE;
  const nameOf = (i) => `${dateOf(i).toISOString().slice(0, 10)}-${dateOf(i).getUTCHours()}`;
  const word = (column, i) => (data[column].of[i] < 0 ? null : data[column].words[data[column].of[i]]);
  const text = (column, i) => word(column, i)?.replace(NAME, nameOf(i)) ?? null;
  const statusName = (i) => data.statuses[status[i]];
  const isPacific = (i) => data.pacific !== null && i >= data.pacific[0] && i <= data.pacific[1];

  const number = (value) => value.toLocaleString("en-US");
  const plural = (n, one) => `${number(n)} ${one}${n === 1 ? "" : "s"}`;
  const instant = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");

  function span(from, to) {
    const [date, ...rest] = instant(to).split(" ");
    return `${instant(from)} to ${instant(from).startsWith(date) ? rest.join(" ") : instant(to)}`;
  }

  function size(bytes) {
    const units = ["bytes", "kB", "MB", "GB", "TB"];
    let unit = 0;
    for (; bytes >= 1000 && unit < units.length - 1; unit++) bytes /= 1000;
    return `${unit === 0 ? bytes : bytes.toFixed(1)} ${units[unit]}`;
  }

  function share(part, whole) {
    const percent = Math.max((100 * part) / whole, part > 0 ? 0.01 : 0);
    return part === whole ? "100%" : `${Math.min(percent, 99.99).toFixed(2)}%`;
  }

  // Each year's hours by status, its events, and the median of events of its hours that have any.
  const years = new Map();
  for (let i = 0; i < count; ) {
    const year = yearOf(i);
    const end = Math.min(indexOf(Date.UTC(year + 1, 0)), count);
    const sums = { first: i, last: end - 1, hours: 0, complete: 0, events: 0, median: 0 };
    const volumes = [];
    for (; i < end; i++) {
      sums.hours += status[i] !== OUTSIDE ? 1 : 0;
      sums.complete += status[i] === COMPLETE ? 1 : 0;
      if (data.events[i]) volumes.push(data.events[i]);
    }
    sums.events = volumes.reduce((a, b) => a + b, 0);
    volumes.sort((a, b) => a - b);
    sums.median = volumes.length ? volumes[volumes.length >> 1] : 0;
    years.set(year, sums);
  }

  function volumeStep(i, median) {
    const ratio = data.events[i] / median;
    let step = 0;
    while (step < VOLUME_STEPS.length && ratio >= VOLUME_STEPS[step]) step++;
    return step;
  }
  performance.measure("unpack", "unpack");

  // ---------------------------------------------------------------------------------------------------- the state
  const shown = new Set(); // numbers of the statuses to show; none means all
  let blocks = []; // rows of squares: see layOut
  let cursor = -1; // the hour that is looked at; -1 for none
  let last = count - 1; // the one looked at before, where the keyboard goes on
  let kept = false; // the details stay until they are closed
  let pointed = false; // the pointer called for them, so they go with it

  const isShown = (i) => shown.size === 0 || shown.has(status[i]);
  const isOpen = (i) => inside(i) && (shown.size === 0 ? status[i] !== COMPLETE : shown.has(status[i]));

  // --------------------------------------------------------------------------------------------------- the squares
  // Large squares of fifteen years would take hundreds of megabytes: then only what is near the window is drawn.
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const block = entry.target.block;
        block.near = entry.isIntersecting;
        if (!block.near) release(block);
        else if (!block.drawn) draw(block);
      }
    },
    { rootMargin: "800px" },
  );

  /** Chooses how many months stand in a row, and how large a square is, in device pixels. */
  function measure() {
    const ratio = window.devicePixelRatio || 1;
    const room = $("map").clientWidth - 4;
    const fits = (months) => {
      const days = { 12: 366, 6: 184, 3: 92, 1: 31 }[months]; // at most
      const abreast = months > 1 ? 1 : Math.max(Math.round(room / MONTH_WIDTH), 1);
      const left = Math.round(26 * ratio);
      const between = Math.round((months === 1 ? 0 : 3) * ratio);
      const width = Math.floor(((room - BLOCK_GAP * (abreast - 1)) / abreast) * ratio);
      const cell = (width - left - between * (months - 1)) / days;
      return { months, days, ratio, left, between, cell };
    };
    const chosen = $("level").value;
    const found = chosen === "fit" ? bestFit(fits, ratio) : fits(Number(chosen));
    found.cell = Math.min(Math.max(found.cell, SMALLEST * ratio), LARGEST * ratio);
    found.gap = found.cell >= 8 * ratio ? Math.round(1.5 * ratio) : found.cell >= 5 ? 1 : 0;
    return found;
  }

  function bestFit(fits, ratio) {
    const days = count / DAY_HOURS;
    const enough = days <= 62 ? 1 : days <= 200 ? 3 : 12;
    return LEVELS.map(fits).find(({ months, cell }) => months <= enough && cell >= LEGIBLE * ratio) ?? fits(1);
  }

  /** Rebuilds the rows of squares: one canvas for each span of months that has an hour. */
  function layOut() {
    const scale = measure();
    watcher.disconnect();
    blocks = [];
    const sections = [];
    for (const [year, sums] of [...years].reverse()) {
      const holder = make("div", { className: "blocks" });
      for (let month = 0; month < 12; month += scale.months) {
        const block = blockOf(year, month, scale, sums);
        if (block === null) continue;
        blocks.push(block);
        holder.append(block.canvas);
      }
      const line = `${number(sums.complete)} of ${plural(sums.hours, "hour")} complete (${share(sums.complete, sums.hours)}), ${plural(sums.events, "event")}`;
      sections.push(make("section", {}, make("h3", {}, String(year), make("small", {}, line)), holder));
    }
    $("years").replaceChildren(...sections);
    const pixels = blocks.reduce((sum, block) => sum + block.width * block.height, 0);
    for (const block of blocks) {
      if (pixels > PIXELS_AT_ONCE) watcher.observe(block.canvas);
      else block.near = true;
    }
    redraw();
    placeCursor();
  }

  function blockOf(year, month, scale, sums) {
    const first = indexOf(Date.UTC(year, month));
    const end = indexOf(Date.UTC(year, month + scale.months));
    if (end <= 0 || first >= count) return null;
    const top = Math.round((scale.months === 1 && scale.cell >= 8 * scale.ratio ? 30 : 16) * scale.ratio);
    const starts = []; // of each month: its first day within the block, and where it is drawn
    for (let m = 0; m < scale.months; m++) {
      const day = (indexOf(Date.UTC(year, month + m)) - first) / DAY_HOURS;
      starts.push({ day, x: scale.left + day * scale.cell + m * scale.between });
    }
    const width = Math.ceil(scale.left + scale.days * scale.cell + (scale.months - 1) * scale.between);
    const height = Math.ceil(top + DAY_HOURS * scale.cell);
    const canvas = make("canvas", { ariaHidden: "true" });
    canvas.width = canvas.height = 0;
    canvas.style.width = `${width / scale.ratio}px`;
    canvas.style.height = `${height / scale.ratio}px`;
    const days = (end - first) / DAY_HOURS;
    const block = { ...scale, canvas, year, month, first, end, days, top, starts, width, height, median: sums.median, near: false, drawn: false };
    canvas.block = block;
    return block;
  }

  function startOf(block, day) {
    let m = block.starts.length - 1;
    while (block.starts[m].day > day) m--;
    return block.starts[m];
  }

  /** Left, top, width and height of an hour's square in whole pixels: edges are rounded, so none is blurred. */
  function squareOf(block, i) {
    const { cell, gap, top } = block;
    const hour = (i - block.first) % DAY_HOURS;
    const day = (i - block.first - hour) / DAY_HOURS;
    const start = startOf(block, day);
    const x = Math.round(start.x + (day - start.day) * cell);
    const y = Math.round(top + hour * cell);
    const right = Math.round(start.x + (day - start.day + 1) * cell);
    const bottom = Math.round(top + (hour + 1) * cell);
    return [x, y, right - x - gap, bottom - y - gap];
  }

  function colours() {
    const probe = make("i", { className: "swatch" });
    document.body.append(probe);
    const colour = (name) => {
      probe.className = name;
      return getComputedStyle(probe).backgroundColor;
    };
    const found = {
      status: data.statuses.map(colour),
      volume: [0, ...VOLUME_STEPS].map((_, step) => colour(`volume-${step}`)),
      none: colour("absent"),
      dimmed: colour("dimmed"),
      label: getComputedStyle($("keys")).color,
    };
    probe.remove();
    return found;
  }

  let palette = colours();

  function draw(block) {
    const { canvas } = block;
    canvas.width = block.width;
    canvas.height = block.height;
    const pen = canvas.getContext("2d");
    label(block, pen);
    const byVolume = $("colour").value === "volume";
    let colour = "";
    for (let i = Math.max(block.first, 0); i < Math.min(block.end, count); i++) {
      if (status[i] === OUTSIDE) continue;
      const next = !isShown(i)
        ? palette.dimmed
        : !byVolume
          ? palette.status[status[i]]
          : data.events[i]
            ? palette.volume[volumeStep(i, block.median)]
            : palette.none;
      if (next !== colour) pen.fillStyle = colour = next;
      pen.fillRect(...squareOf(block, i));
    }
    block.drawn = true;
  }

  function label(block, pen) {
    const { ratio, cell } = block;
    pen.fillStyle = palette.label;
    pen.font = `${11 * ratio}px system-ui, sans-serif`;
    pen.textBaseline = "top";
    block.starts.forEach(({ x }, m) => pen.fillText(MONTHS[block.month + m], x, 0));
    if (block.top > 20 * ratio) {
      for (let day = 0; day < block.days; day += 7) {
        pen.fillText(String(day + 1), block.left + day * cell, 14 * ratio);
      }
    }
    pen.textAlign = "right";
    pen.font = `${10 * ratio}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    for (const hour of [0, 6, 12, 18]) {
      pen.fillText(String(hour), block.left - 5 * ratio, block.top + (hour + 0.5) * cell + (hour ? 0 : ratio));
    }
  }

  function release(block) {
    if (block.drawn) block.canvas.width = block.canvas.height = 0;
    block.drawn = false;
  }

  function redraw() {
    performance.mark("draw");
    for (const block of blocks) {
      block.drawn = false;
      if (block.near) draw(block);
    }
    performance.measure("draw", "draw");
  }

  /** The hour under a point of the window; -1 where there is none. */
  function hourAt(event) {
    const block = event.target.block;
    if (block === undefined) return -1;
    const box = block.canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) * block.width) / box.width;
    const y = ((event.clientY - box.top) * block.height) / box.height;
    const hour = Math.floor((y - block.top) / block.cell);
    const start = block.starts.findLast((each) => each.x <= x);
    if (start === undefined || hour < 0 || hour >= DAY_HOURS) return -1;
    const day = start.day + Math.floor((x - start.x) / block.cell);
    if (day >= block.days || startOf(block, day) !== start) return -1; // between two months, or behind the last
    const i = block.first + day * DAY_HOURS + hour;
    return inside(i) ? i : -1;
  }

  // --------------------------------------------------------------------------------------- the cursor and the card
  function make(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function placeCursor() {
    const block = blocks.find((each) => cursor >= each.first && cursor < each.end);
    $("cursor").hidden = block === undefined || cursor < 0;
    if ($("cursor").hidden) return;
    const [x, y, width, height] = squareOf(block, cursor).map((pixels) => pixels / block.ratio);
    const style = $("cursor").style;
    $("cursor").classList.toggle("tiny", width < 6);
    style.left = `${block.canvas.offsetLeft + x}px`;
    style.top = `${block.canvas.offsetTop + y}px`;
    style.width = `${width}px`;
    style.height = `${height}px`;
  }

  function lookAt(i, { scroll = false, speak = false, keep = kept, point = false } = {}) {
    if (!inside(i)) return;
    cursor = last = i;
    kept = keep;
    pointed = point;
    placeCursor();
    if (scroll) $("cursor").scrollIntoView({ block: "nearest", inline: "nearest" });
    fillCard(i);
    placeCard();
    if (speak) $("spoken").textContent = sentence(i);
  }

  function lookAway() {
    cursor = -1;
    kept = false;
    $("card").hidden = true;
    $("card").classList.remove("kept");
    $("cursor").hidden = true;
  }

  function sentence(i) {
    const events = data.events[i] === null ? "" : `, ${plural(data.events[i], "event")}`;
    const reason = text("reason", i);
    return `${nameOf(i)}: ${statusName(i)}${events}${reason ? `. ${reason}` : ""}`;
  }

  function nextTry(i) {
    const at = data.next_try[i];
    if (at === null) return null;
    if (at <= data.now) return "due now";
    const days = (at - data.now) / 86400;
    return `${instant(at).slice(0, 16)} (in ${days < 2 ? plural(Math.ceil(days * 24), "hour") : plural(Math.round(days), "day")})`;
  }

  /** All that is known of an hour, as pairs of a name and a value; those without a value are left out. */
  function facts(i) {
    const at = (column) => data[column][i];
    const start = (data.first + i) * 3600;
    const created = at("first_created") === null ? null : span(start + at("first_created"), start + at("last_created"));
    const median = years.get(yearOf(i)).median;
    const made = at("finished") === null ? null : `${instant(at("finished"))}, attempt ${at("attempts") ?? 1}${at("seconds") === null ? "" : `, ${at("seconds")} s`}`;
    return [
      ["known gap", text("hole", i)],
      ["next try", nextTry(i)],
      ["events", at("events") === null ? null : number(at("events")) + (median ? ` (${Math.round((100 * at("events")) / median)}% of the year's median)` : "")],
      ["types", typesOf(i)],
      ["unreadable", at("unreadable") ? number(at("unreadable")) : null],
      ["duplicates", at("duplicates") ? number(at("duplicates")) : null],
      ["created", created],
      ["source", text("source", i)],
      ["compressed", at("source_bytes") === null ? null : size(at("source_bytes"))],
      ["parquet", at("parquet_bytes") === null ? null : size(at("parquet_bytes"))],
      ["form", [word("era", i) && `era ${word("era", i)}`, word("emails", i) && `e-mails: ${word("emails", i)}`, word("schema_version", i) !== null && `schema ${word("schema_version", i)}`].filter(Boolean).join(", ")],
      ["last attempt", made],
      ["name", isPacific(i) ? "in US Pacific time" : null],
    ].filter(([, value]) => value);
  }

  function typesOf(i) {
    const list = make("ul", {});
    data.types.kinds.forEach((kinds, rank) => {
      if (kinds[i] < 0) return;
      const percent = data.types.shares[rank][i];
      const name = data.types.words[kinds[i]] || "(without a type)";
      list.append(make("li", {}, make("span", {}, name), make("meter", { max: 100, value: percent }), make("span", { className: "figure" }, `${percent || "<1"}%`)));
    });
    return list.children.length ? list : null;
  }

  function fillCard(i) {
    const card = $("card");
    const head = make("header", {}, make("h3", {}, nameOf(i)), make("span", { className: "status" }, make("i", { className: `swatch ${statusName(i)}` }), statusName(i)));
    if (kept) head.append(make("button", { type: "button", ariaLabel: "Close", onclick: lookAway }, "×"));
    const list = make("dl", {});
    for (const [name, value] of facts(i)) list.append(make("dt", {}, name), make("dd", {}, value));
    const reason = text("reason", i);
    card.replaceChildren(head, ...(reason ? [make("p", {}, reason)] : []), list);
    card.classList.toggle("kept", kept);
    card.hidden = false;
  }

  function placeCard() {
    const card = $("card");
    if (card.hidden) return;
    const at = $("cursor").getBoundingClientRect();
    card.classList.toggle("away", at.bottom < 0 || at.top > window.innerHeight);
    const { offsetWidth: width, offsetHeight: height } = card;
    const right = at.right + 16 + width <= window.innerWidth;
    const left = right ? at.right + 16 : Math.max(at.left - 16 - width, 8);
    const top = Math.min(Math.max(at.top - height / 3, 8), window.innerHeight - height - 8);
    card.style.left = `${left}px`;
    card.style.top = `${Math.max(top, 8)}px`;
  }

  /** The next hour on the way that is worth a look, behind the stretch that one stands in. */
  function seek(from, step) {
    let i = from;
    while (isOpen(i) && status[i] === status[from]) i += step;
    while (i >= 0 && i < count && !isOpen(i)) i += step;
    return i >= 0 && i < count ? i : from;
  }

  function pageTo(i) {
    history.replaceState(null, "", `#${nameOf(i)}`);
    lookAt(i, { speak: true, keep: true });
    $("map").focus({ preventScroll: true });
    $("cursor").scrollIntoView({ block: "center", inline: "nearest" });
    placeCard();
  }

  function followHash() {
    const found = /^#(\d{4}-\d\d-\d\d)(?:-(\d{1,2}))?$/.exec(location.hash);
    if (found === null) return;
    const i = indexOf(Date.parse(`${found[1]}T00:00:00Z`)) + Number(found[2] ?? 0);
    if (inside(i)) pageTo(i);
  }

  const KEYS = {
    ArrowLeft: (i) => i - DAY_HOURS,
    ArrowRight: (i) => i + DAY_HOURS,
    ArrowUp: (i) => i - 1,
    ArrowDown: (i) => i + 1,
    PageUp: (i) => i - 28 * DAY_HOURS,
    PageDown: (i) => i + 28 * DAY_HOURS,
    Home: () => 0,
    End: () => count - 1,
    n: (i) => seek(i, 1),
    p: (i) => seek(i, -1),
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") lookAway();
    if (event.key === "Enter" && cursor >= 0) pageTo(cursor);
    const step = KEYS[event.key];
    if (step === undefined) return;
    event.preventDefault();
    lookAt(Math.min(Math.max(step(last), 0), count - 1), { scroll: true, speak: true });
  }

  // ------------------------------------------------------------------------------------------------------ the list
  /** Hours in a row that are not complete for one reason, its figures aside; the newest first. */
  function runsOf() {
    const kinds = data.reason.words.map((each) => each.replace(/\d[\d.,:]*/g, "0"));
    const kindOf = (i) => kinds[data.reason.of[i]];
    const runs = [];
    for (let i = count - 1; i >= 0; i--) {
      if (!inside(i) || status[i] === COMPLETE) continue;
      const run = runs.at(-1);
      const same =
        run?.first === i + 1 &&
        status[run.first] === status[i] &&
        kindOf(run.first) === kindOf(i) &&
        data.hole.of[run.first] === data.hole.of[i];
      if (!same) runs.push({ first: i, last: i, alike: true });
      else Object.assign(run, { first: i, alike: run.alike && data.reason.of[run.last] === data.reason.of[i] });
    }
    return runs;
  }

  const runs = runsOf();
  let rows = ROWS_AT_ONCE;

  function list() {
    const listed = runs.filter((run) => isShown(run.first));
    const hours = listed.reduce((sum, run) => sum + run.last - run.first + 1, 0);
    $("open-count").textContent = listed.length
      ? `${plural(hours, "hour")} in ${plural(listed.length, "run")} of hours, the newest first`
      : "No such hours.";
    $("list").hidden = listed.length === 0;
    $("list").tBodies[0].replaceChildren(...listed.slice(0, rows).map(rowOf));
    $("more").hidden = listed.length <= rows;
  }

  function rowOf(run) {
    const { first, last, alike } = run;
    const title = first === last ? nameOf(first) : `${nameOf(first)} to ${nameOf(last)}`;
    const hole = text("hole", last);
    const newest = text("reason", last);
    const reason = [alike ? newest : `${newest} (the last of these hours; the others differ in figures)`, hole && `known gap: ${hole}`];
    return make(
      "tr",
      {},
      make("td", {}, make("button", { type: "button", onclick: () => pageTo(first) }, title)),
      make("td", { className: "figure" }, number(last - first + 1)),
      make("td", {}, make("i", { className: `swatch ${statusName(first)}` }), statusName(first)),
      make("td", {}, reason.filter(Boolean).join("; ")),
      make("td", {}, nextTry(last) ?? "none"),
    );
  }

  // ------------------------------------------------------------------------------------------------------ wiring up
  for (const chip of document.querySelectorAll(".chip")) {
    chip.addEventListener("click", () => {
      const code = data.statuses.indexOf(chip.dataset.status);
      const on = !shown.delete(code) && Boolean(shown.add(code));
      chip.setAttribute("aria-pressed", String(on));
      $("clear").hidden = shown.size === 0;
      rows = ROWS_AT_ONCE;
      redraw();
      list();
    });
  }
  $("clear").addEventListener("click", () => {
    shown.clear();
    for (const chip of document.querySelectorAll(".chip")) chip.setAttribute("aria-pressed", "false");
    $("clear").hidden = true;
    redraw();
    list();
  });
  $("colour").addEventListener("change", () => {
    $("ramp").hidden = $("colour").value !== "volume";
    redraw();
  });
  $("level").addEventListener("change", layOut);
  $("more").addEventListener("click", () => {
    rows += ROWS_AT_ONCE;
    list();
  });

  const day = $("day");
  day.min = dateOf(0).toISOString().slice(0, 10);
  day.max = dateOf(count - 1).toISOString().slice(0, 10);
  $("jump").addEventListener("submit", (event) => {
    event.preventDefault();
    day.setCustomValidity("");
    if (!day.reportValidity()) return;
    const i = indexOf(Date.parse(`${day.value}T00:00:00Z`));
    pageTo(inside(i) ? i : Math.min(Math.max(i, 0), count - 1));
  });

  const map = $("map");
  map.addEventListener("pointermove", (event) => {
    if (kept || event.pointerType === "touch") return;
    const i = hourAt(event);
    if (i >= 0 && i !== cursor) lookAt(i, { point: true });
    else if (i < 0 && pointed) lookAway();
  });
  map.addEventListener("pointerleave", () => pointed && !kept && lookAway());
  map.addEventListener("click", (event) => {
    const i = hourAt(event);
    if (i < 0 || (kept && i === cursor)) lookAway();
    else pageToHere(i);
  });
  map.addEventListener("keydown", onKey);
  map.addEventListener("focus", () => {
    if (cursor < 0 && map.matches(":focus-visible")) lookAt(last, { scroll: true, speak: true });
  });
  map.addEventListener("blur", () => kept || lookAway());
  map.addEventListener("scroll", placeCard);
  window.addEventListener("scroll", placeCard, { passive: true });
  window.addEventListener("hashchange", followHash);
  document.addEventListener("keydown", (event) => event.key === "Escape" && lookAway());

  /** Keeps the details of an hour that is in sight already. */
  function pageToHere(i) {
    history.replaceState(null, "", `#${nameOf(i)}`);
    lookAt(i, { speak: true, keep: true });
  }

  const THEMES = ["auto", "light", "dark"];
  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "auto") + 1) % THEMES.length];
    root.dataset.theme = next;
    $("theme").textContent = `Theme: ${next}`;
    recolour();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);

  function recolour() {
    palette = colours();
    redraw();
  }

  for (const element of document.querySelectorAll(".scripted")) element.hidden = false;
  list();
  layOut();
  let room = map.clientWidth;
  new ResizeObserver(() => {
    if (map.clientWidth !== room) layOut();
    room = map.clientWidth;
    placeCard();
  }).observe(map);
  followHash();
  document.documentElement.dataset.ready = "true";
})();
