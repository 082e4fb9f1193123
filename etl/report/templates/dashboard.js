// @ts-check
// Draws the dashboard. What it shows comes from the packed counts alone (etl/report/aggregates.py tells the form) and gets onto
// the page as text and drawings, never as markup.
"use strict";

(async () => {
  const HOUR_MS = 3_600_000;
  const DAY_HOURS = 24;
  const WEEK_HOURS = 7 * DAY_HOURS;
  const WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
  const HOURS_UP_TO = 14 * DAY_HOURS; // longer ranges are drawn by days
  const DAYS_UP_TO = 800 * DAY_HOURS; // and those by months
  const SHADES = 9; // colours of their own; all that is smaller shares one
  const TOP = 10;
  const BAR_HEIGHT = 25; // with the space around it
  const SUGGESTIONS = 30;
  const ROWS_OF_FIGURES = 500;
  const NO_TYPE = "(no type)";
  const REST = "var(--rest)";
  const LINE = "\n"; // separates the lines of a tooltip
  const IN_LAKE = new Set(["complete", "partial", "suspect"]);
  const OUTCOMES = [
    ["merged", "merged", "var(--shade-4)"],
    ["unmerged", "closed without a merge", "var(--shade-3)"],
    ["unknown", "closed, the record does not tell", REST],
  ];

  const $ = (id) => document.getElementById(id);

  // ---------------------------------------------------------------------------------------------------- the data
  async function unpacked(id) {
    const text = atob($(id).textContent);
    const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")));
  }

  let data;
  try {
    data = await (await unpacked("packed")).json();
    const library = document.createElement("script");
    library.textContent = await (await unpacked("library")).text();
    document.head.append(library);
  } catch (error) {
    $("trouble").querySelector("p").textContent =
      "The charts cannot be drawn: this browser is too old, or the file was changed or cut short. Events by type:";
    return;
  }
  $("trouble").hidden = true;

  const rows = data.rows;
  const count = rows.hour.length;
  const rowHour = cumulated(rows.hour);
  const coverHour = cumulated(data.coverage.hour);
  const coverStatus = [...data.coverage.status].map((digit) => data.statuses[Number(digit)]);
  const stored = new Set(coverHour.filter((_, i) => IN_LAKE.has(coverStatus[i])));

  function cumulated(steps) {
    let sum = 0;
    return Int32Array.from(steps, (step) => (sum += step));
  }

  /** Numbers distinct names; maps each element of a list to the number of its name. */
  function numbered(names) {
    const numbers = new Map();
    const of = names.map((name) => {
      if (!numbers.has(name)) numbers.set(name, numbers.size);
      return numbers.get(name);
    });
    return { of, names: [...numbers.keys()], numbers };
  }

  const types = numbered(data.kinds.map(([type]) => type ?? NO_TYPE));
  const actions = numbered(data.kinds.map(([, action]) => action));
  const outcomes = data.kinds.map(([, , outcome]) => OUTCOMES.findIndex(([name]) => name === outcome));
  const actors = numbered(data.actors.map(([login]) => login)); // null: together; "": none in the record
  const isBot = data.actors.map(([, bot]) => bot);
  const repositories = numbered(data.repositories);

  // Colours go by the rank of a name in the whole of the data, so that they stay when a filter is set.
  const typeRank = ranked(types);
  const actionRank = ranked(actions, null);
  const shadeOf = (rank) => (rank < SHADES ? `var(--shade-${rank})` : REST);
  const typeShade = types.names.map((_, i) => shadeOf(typeRank.indexOf(i)));
  const actionShade = actions.names.map((_, i) => shadeOf(actionRank.indexOf(i)));

  function ranked({ of, names }, without) {
    const sums = new Float64Array(names.length);
    for (let i = 0; i < count; i++) sums[of[rows.kind[i]]] += rows.events[i];
    return [...sums.keys()].filter((i) => names[i] !== without).sort((a, b) => sums[b] - sums[a] || (names[a] < names[b] ? -1 : 1));
  }

  // ------------------------------------------------------------------------------------------------------- words
  const number = (value) => value.toLocaleString("en-US");
  const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;
  const share = (part, whole) => {
    if (!whole) return "–";
    if (part === whole) return "100%";
    return part === 0 ? "0%" : `${Math.min(Math.max((100 * part) / whole, 0.01), 99.99).toFixed(2)}%`;
  };
  const rough = (value) => (value < 100 ? String(Math.round(value * 10) / 10) : number(Math.round(value)));
  const dayOf = (hour) => new Date(hour * HOUR_MS).toISOString().slice(0, 10);
  const firstHour = (day) => Date.parse(day) / HOUR_MS;
  const lastHour = (day) => firstHour(day) + DAY_HOURS - 1;
  const actorName = (name) => (name === "" ? "(nobody named)" : (name ?? "(all others)"));
  const repositoryName = (name) => (name === "" ? "(none named)" : (name ?? "(all others)"));

  // ------------------------------------------------------------------------------------------------------- state
  const FIELDS = ["from", "to", "type", "actor", "repository", "who", "measure"];
  const start = { from: data.first, to: data.last, type: "", actor: "", repository: "", who: "", measure: "events" };

  for (const i of typeRank) $("type").append(new Option(types.names[i], types.names[i]));

  function restore() {
    const said = new URLSearchParams(location.hash.slice(1));
    for (const field of FIELDS) {
      $(field).value = said.get(field) ?? start[field];
      if (!$(field).value) $(field).value = start[field];
    }
  }

  function remember() {
    const said = new URLSearchParams();
    for (const field of FIELDS) if ($(field).value !== start[field]) said.set(field, $(field).value);
    history.replaceState(null, "", said.size ? `#${said}` : location.href.split("#")[0]);
  }

  /** What is chosen, as numbers; a name that is not in the page is a complaint instead. */
  function chosen() {
    const complaints = [];
    const named = (field, list, what, listed) => {
      const name = $(field).value.trim();
      if (!name) return -1;
      const found = list.numbers.get(name) ?? list.names.findIndex((other) => other?.toLowerCase() === name.toLowerCase());
      if (found >= 0) return found;
      const all = listed[0] >= listed[1];
      complaints.push(`There is no ${what} “${name}” ${all ? "in these days" : `among the ${number(listed[0])} listed by name`}.`);
      return -1;
    };
    const from = $("from").value || data.first;
    const to = $("to").value || data.last;
    if (to < from) complaints.push("The range ends before it begins.");
    return {
      complaints,
      from: firstHour(from < data.first ? data.first : from),
      to: lastHour(to > data.last ? data.last : to),
      type: $("type").value ? (types.numbers.get($("type").value) ?? -1) : -1,
      actor: named("actor", actors, "user", data.listed.actors),
      repository: named("repository", repositories, "repository", data.listed.repositories),
      who: $("who").value,
      measure: $("measure").value,
    };
  }

  // ----------------------------------------------------------------------------------------------------- counting
  /** Cuts the range into hours, days or months. */
  function binsOf({ from, to }) {
    const hours = to - from + 1;
    const unit = hours <= HOURS_UP_TO ? "hour" : hours <= DAYS_UP_TO ? "day" : "month";
    const starts = [];
    for (let at = from; at <= to; at = next(at, unit)) starts.push(at);
    // A month is drawn whole, however much of it is chosen.
    const periods = starts.map((at, i) => ({ start: (unit === "month" ? monthOf(at) : at) * HOUR_MS, end: next(at, unit) * HOUR_MS }));
    return { unit, starts, periods, find: (hour) => find(starts, hour) };
  }

  function monthOf(hour) {
    const date = new Date(hour * HOUR_MS);
    return Date.UTC(date.getUTCFullYear(), date.getUTCMonth()) / HOUR_MS;
  }

  function next(hour, unit) {
    if (unit === "hour") return hour + 1;
    if (unit === "day") return hour + DAY_HOURS;
    const date = new Date(hour * HOUR_MS);
    return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1) / HOUR_MS;
  }

  function find(starts, hour) {
    let low = 0;
    for (let high = starts.length - 1; low < high; ) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= hour) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  const weekHour = (hour) => (((hour + 3 * DAY_HOURS) % WEEK_HOURS) + WEEK_HOURS) % WEEK_HOURS; // 1970 began on a Thursday

  function counted(want) {
    const bins = binsOf(want);
    const sums = {
      want,
      bins,
      total: 0,
      byBots: 0,
      ofType: new Float64Array(types.names.length),
      ofTypeByBots: new Float64Array(types.names.length),
      ofBin: bins.starts.map(() => new Map()),
      closedOfBin: bins.starts.map(() => [0, 0, 0]),
      closed: [0, 0, 0],
      opened: 0,
      ofWeekHour: new Float64Array(WEEK_HOURS),
      notStored: 0,
      ofActor: new Map(),
      actionsOf: new Map(),
      ofRepository: new Map(),
      ...covered(want, bins),
    };
    let before = -1;
    let bin = 0;
    for (let i = 0; i < count; i++) {
      const hour = rowHour[i];
      if (hour < want.from || hour > want.to) continue;
      const kind = rows.kind[i];
      const type = types.of[kind];
      const actor = actors.of[rows.actor[i]];
      const repository = repositories.of[rows.repository[i]];
      const bot = isBot[rows.actor[i]];
      if (want.type >= 0 && type !== want.type) continue;
      if (want.actor >= 0 && actor !== want.actor) continue;
      if (want.repository >= 0 && repository !== want.repository) continue;
      if (want.who && (want.who === "bots") !== bot) continue;
      if (hour !== before) bin = bins.find((before = hour));
      add(sums, bin, rows.events[i], { hour, kind, type, actor, repository, bot });
    }
    return sums;
  }

  function add(sums, bin, events, { hour, kind, type, actor, repository, bot }) {
    const grow = (map, key, by = events) => map.set(key, (map.get(key) ?? 0) + by);
    sums.total += events;
    sums.ofType[type] += events;
    if (bot) {
      sums.byBots += events;
      sums.ofTypeByBots[type] += events;
    }
    grow(sums.ofBin[bin], type);
    // A mean is that of stored hours: late events also reach hours of which nothing else is there.
    if (stored.has(hour)) sums.ofWeekHour[weekHour(hour)] += events;
    else sums.notStored += events;
    grow(sums.ofActor, actor);
    if (actions.names[actions.of[kind]] !== null) {
      if (!sums.actionsOf.has(actor)) sums.actionsOf.set(actor, new Map());
      grow(sums.actionsOf.get(actor), actions.of[kind]);
    }
    grow(sums.ofRepository, repository, MEASURES[sums.want.measure](kind) ? events : 0);
    if (outcomes[kind] >= 0) {
      sums.closed[outcomes[kind]] += events;
      sums.closedOfBin[bin][outcomes[kind]] += events;
    }
    if (types.names[type] === "PullRequestEvent" && actions.names[actions.of[kind]] === "opened") sums.opened += events;
  }

  const MEASURES = {
    events: () => true,
    stars: (kind) => data.kinds[kind][0] === "WatchEvent",
    forks: (kind) => data.kinds[kind][0] === "ForkEvent",
    pushes: (kind) => data.kinds[kind][0] === "PushEvent",
    merged: (kind) => data.kinds[kind][2] === "merged",
  };

  /** How complete the range is: in all, in each bin, and for each hour of the week. */
  function covered(want, bins) {
    const ofStatus = new Map(data.statuses.map((status) => [status, 0]));
    const ofBin = bins.starts.map(() => ({ hours: 0, complete: 0, there: 0 }));
    const storedOfWeekHour = new Float64Array(WEEK_HOURS);
    let hours = 0;
    for (let i = 0; i < coverHour.length; i++) {
      const hour = coverHour[i];
      if (hour < want.from || hour > want.to) continue;
      const bin = ofBin[bins.find(hour)];
      const status = coverStatus[i];
      hours++;
      bin.hours++;
      ofStatus.set(status, ofStatus.get(status) + 1);
      if (status === "complete") bin.complete++;
      if (stored.has(hour)) {
        bin.there++;
        storedOfWeekHour[weekHour(hour)]++;
      }
    }
    return { hours, ofStatus, coverOfBin: ofBin, storedOfWeekHour };
  }

  // ------------------------------------------------------------------------------------------------------- charts
  const RIGHT = { bots: 52, contributors: 48, actions: 48, repos: 48 }; // room for what stands behind the longest bar
  const CONFIG = {
    aria: false, // the figures stand in a table beside each chart
    font: "system-ui, -apple-system, Segoe UI, Roboto, Noto Sans, sans-serif",
    view: { stroke: null },
    axis: {
      labelColor: "var(--soft)", titleColor: "var(--soft)", titleFontWeight: "normal", gridColor: "var(--line)",
      domainColor: "var(--line)", tickColor: "var(--line)", labelFontSize: 12, titleFontSize: 12,
    },
    text: { fill: "var(--ink)", fontSize: 12 },
  };
  const CLOCK = { hours: "%H:%M", minutes: "%H:%M", date: "%a %d", day: "%a %d", week: "%b %d", month: "%b", quarter: "%b", year: "%Y" };
  const fill = { field: "fill", type: "nominal", scale: null };
  const tooltip = { field: "tip", type: "nominal" };
  const time = (axis) => ({ field: "start", type: "temporal", scale: { type: "utc" }, axis: { title: null, grid: false, labelSeparation: 10, tickCount: 8, format: CLOCK, ...axis } });
  const events = (axis = {}) => ({ type: "quantitative", axis: { title: null, tickCount: 4, labelOverlap: "greedy", labelSeparation: 8, labelExpr: "datum.value % 1 ? '' : format(datum.value, '~s')", domain: false, ticks: false, ...axis } });
  const overTime = (tall, layers) => ({
    height: tall,
    layer: [
      {
        mark: "bar",
        encoding: {
          x: time({ offset: layers.length ? 12 : 2 }), x2: { field: "end" }, y: { field: "from", ...events() }, y2: { field: "to" }, fill, tooltip,
        },
      },
      ...layers,
    ],
  });
  const bars = (labels) => ({
    layer: [
      {
        mark: { type: "bar", height: 17, cornerRadius: 2 },
        encoding: {
          y: { field: "name", type: "nominal", sort: null, axis: { title: null, labelLimit: { expr: "min(170, 0.4 * containerSize()[0])" }, domain: false, ticks: false, labelColor: "var(--ink)", labelPadding: 6 } },
          x: { field: "from", ...events(labels) }, x2: { field: "to" }, fill, tooltip,
        },
      },
      {
        transform: [{ filter: "datum.label != ''" }],
        mark: { type: "text", align: "left", dx: 5 },
        encoding: { y: { field: "name", type: "nominal", sort: null }, x: { field: "to", type: "quantitative" }, text: { field: "label" } },
      },
    ],
  });

  const SPECS = {
    timeline: overTime(390, [
      {
        data: { name: "ribbon" },
        mark: { type: "rect", stroke: "var(--sheet)", strokeWidth: 0.5 },
        encoding: { x: time(), x2: { field: "end" }, y: { value: 394 }, y2: { value: 402 }, fill, fillOpacity: { field: "part", type: "quantitative", scale: null }, tooltip },
      },
    ]),
    types: {
      height: 230,
      mark: { type: "arc", innerRadius: 62, outerRadius: 108, stroke: "var(--sheet)", strokeWidth: 1.5 },
      encoding: { theta: { field: "events", type: "quantitative", stack: true }, order: { field: "order", type: "quantitative" }, fill, tooltip },
    },
    week: {
      height: 260,
      mark: { type: "rect", cornerRadius: 3, strokeWidth: 1 },
      encoding: {
        x: { field: "hour", type: "ordinal", axis: { title: null, labelAngle: 0, labelOverlap: "parity", labelSeparation: 4, domain: false, ticks: false }, scale: { paddingInner: 0.06 } },
        y: { field: "day", type: "ordinal", sort: WEEKDAYS, axis: { title: null, domain: false, ticks: false }, scale: { paddingInner: 0.08 } },
        fill, stroke: { field: "stroke", type: "nominal", scale: null },
        fillOpacity: { field: "strength", type: "quantitative", scale: null }, tooltip,
      },
    },
    bots: bars({ labelExpr: "format(datum.value, '~%')", tickCount: 3 }),
    contributors: bars(),
    actions: bars(),
    repos: bars(),
    pulls: overTime(250, []),
  };

  /** The figures of each chart: rows to draw, a legend, a table, and what is to be said beside it. */
  const CHARTS = {
    timeline(sums) {
      const { bins } = sums;
      const drawn = [];
      const ribbon = [];
      bins.starts.forEach((_, i) => {
        const period = bins.periods[i];
        let height = 0;
        for (const type of typeRank) {
          const value = sums.ofBin[i].get(type);
          if (!value) continue;
          drawn.push({ ...period, from: height, to: (height += value), fill: typeShade[type], tip: lines(label(bins, i), `${types.names[type]}: ${number(value)}`, coverage(sums, i)), type });
        }
        const cover = sums.coverOfBin[i];
        const partly = cover.there > 0 && cover.complete < cover.hours;
        ribbon.push({
          ...period, tip: lines(label(bins, i), coverage(sums, i)), part: partly ? 0.35 + (0.65 * cover.there) / cover.hours : 1,
          fill: cover.there === 0 ? "var(--absent)" : partly ? "var(--partial)" : "var(--complete)",
        });
      });
      return {
        rows: drawn, ribbon, empty: sums.total === 0,
        legend: [["var(--complete)", "all hours complete"], ["var(--partial)", "in part"], ["var(--absent)", "no hour in the lake"]],
        head: [bins.unit, "events", "hours complete"],
        table: bins.starts.map((_, i) => [label(bins, i), sumOf(sums.ofBin[i]), `${sums.coverOfBin[i].complete} of ${sums.coverOfBin[i].hours}`]).filter((row) => row[1]),
      };
    },

    types(sums) {
      const found = typeRank.filter((type) => sums.ofType[type]).sort((a, b) => sums.ofType[b] - sums.ofType[a]);
      const small = found.length > SHADES + 1 ? found.slice(SHADES) : [];
      const ofSmall = small.reduce((sum, type) => sum + sums.ofType[type], 0);
      const own = found
        .filter((type) => !small.includes(type))
        .map((type) => [typeShade[type], types.names[type], number(sums.ofType[type]), share(sums.ofType[type], sums.total), ["type", types.names[type]]]);
      return {
        rows: found.map((type, order) => ({ order, events: sums.ofType[type], fill: typeShade[type], type, tip: lines(types.names[type], `${number(sums.ofType[type])} events, ${share(sums.ofType[type], sums.total)}`) })),
        legend: [...own, ...(small.length ? [[REST, plural(small.length, "smaller one"), number(ofSmall), share(ofSmall, sums.total)]] : [])],
        head: ["type", "events", "share"],
        table: found.map((type) => [pick("type", types.names[type]), sums.ofType[type], share(sums.ofType[type], sums.total)]),
      };
    },

    week(sums) {
      const means = [...sums.ofWeekHour].map((value, i) => (sums.storedOfWeekHour[i] ? value / sums.storedOfWeekHour[i] : null));
      const most = Math.max(...means.map((mean) => mean ?? 0));
      const drawn = means.map((mean, i) => {
        const [day, hour] = [WEEKDAYS[Math.floor(i / DAY_HOURS)], i % DAY_HOURS];
        const hours = plural(sums.storedOfWeekHour[i], "stored hour");
        return {
          day, hour, fill: mean === null ? "transparent" : "var(--blue)", stroke: mean === null ? "var(--line)" : "transparent",
          strength: mean === null ? 1 : most ? 0.06 + (0.94 * mean) / most : 0.06,
          tip: lines(`${day} ${hour}:00`, mean === null ? "no such hour is stored" : `${rough(mean)} events an hour`, mean === null ? "" : `${number(sums.ofWeekHour[i])} events in ${hours}`),
        };
      });
      const missing = means.filter((mean) => mean === null).length;
      return {
        rows: drawn, empty: sums.total === 0,
        aside: [
          `Strongest colour: ${rough(most)} events an hour.`,
          missing ? `${missing} of ${WEEK_HOURS} hours of the week have no stored hour (outlined).` : "Every hour of the week has a stored hour.",
          sums.notStored ? `Left out: ${plural(sums.notStored, "event")} of hours that are not stored.` : "",
        ].filter(Boolean).join(" "),
        head: ["day", "hour", "events", "stored hours", "mean"],
        table: means.map((mean, i) => [WEEKDAYS[Math.floor(i / DAY_HOURS)], i % DAY_HOURS, sums.ofWeekHour[i], sums.storedOfWeekHour[i], mean === null ? "–" : rough(mean)]).filter((row) => row[3]),
      };
    },

    bots(sums) {
      const found = typeRank.filter((type) => sums.ofType[type]).sort((a, b) => sums.ofTypeByBots[b] / sums.ofType[b] - sums.ofTypeByBots[a] / sums.ofType[a] || sums.ofType[b] - sums.ofType[a]);
      return {
        rows: found.filter((type) => sums.ofTypeByBots[type]).slice(0, TOP).map((type) => {
          const part = sums.ofTypeByBots[type] / sums.ofType[type];
          const text = share(sums.ofTypeByBots[type], sums.ofType[type]);
          return { name: types.names[type].replace(/Event$/, ""), from: 0, to: part, label: text, fill: "var(--orange)", type, tip: lines(types.names[type], `${number(sums.ofTypeByBots[type])} of ${number(sums.ofType[type])} by bots (${text})`) };
        }),
        nothing: "No event here is by a GitHub App.",
        aside: "A lower bound: accounts of persons that programs use are not known as bots, and there are no GitHub Apps before 2017.",
        head: ["type", "by bots", "events", "share"],
        table: found.map((type) => [pick("type", types.names[type]), sums.ofTypeByBots[type], sums.ofType[type], share(sums.ofTypeByBots[type], sums.ofType[type])]),
      };
    },

    contributors(sums) {
      const found = largest(sums.ofActor, actors);
      const bots = new Set(data.actors.filter(([, bot]) => bot).map(([login]) => login));
      return {
        rows: found.slice(0, TOP).map(([actor, value]) => {
          const name = actors.names[actor];
          return { name, from: 0, to: value, label: number(value), fill: bots.has(name) ? "var(--orange)" : "var(--blue)", actor, tip: lines(name, plural(value, "event"), bots.has(name) ? "a GitHub App" : "") };
        }),
        legend: found.slice(0, TOP).some(([actor]) => bots.has(actors.names[actor])) ? [["var(--blue)", "user"], ["var(--orange)", "GitHub App"]] : [],
        aside: together(sums.ofActor, actors, data.listed.actors, "users", "events"),
        head: ["user", "events"],
        table: found.map(([actor, value]) => [pick("actor", actors.names[actor]), value]),
      };
    },

    actions(sums) {
      const totals = new Map([...sums.actionsOf].map(([actor, map]) => [actor, sumOf(map)]));
      const found = largest(totals, actors);
      const top = found.slice(0, TOP);
      const used = new Set();
      const drawn = top.flatMap(([actor, total]) => {
        let before = 0;
        const own = sums.actionsOf.get(actor);
        const parts = actionRank.filter((action) => own.get(action));
        return parts.map((action, place) => {
          used.add(action);
          const value = own.get(action);
          const row = { name: actors.names[actor], from: before, to: before + value, label: place === parts.length - 1 ? number(total) : "", fill: actionShade[action], actor, tip: lines(actors.names[actor], `${actions.names[action]}: ${number(value)}`) };
          before += value;
          return row;
        });
      });
      const named = actionRank.filter((action) => used.has(action));
      const legend = named.filter((action) => actionShade[action] !== REST).map((action) => [actionShade[action], actions.names[action]]);
      if (named.some((action) => actionShade[action] === REST)) legend.push([REST, "others"]);
      const withAction = [...totals.values()].reduce((a, b) => a + b, 0);
      return {
        rows: drawn, legend,
        nothing: "No event here tells an action.",
        aside: `${number(withAction)} of ${plural(sums.total, "event")} ${withAction === 1 ? "tells" : "tell"} an action.`,
        head: ["user", "action", "events"],
        table: found.flatMap(([actor]) => actionRank.filter((action) => sums.actionsOf.get(actor).get(action)).map((action) => [pick("actor", actors.names[actor]), actions.names[action], sums.actionsOf.get(actor).get(action)])),
      };
    },

    repos(sums) {
      const found = largest(sums.ofRepository, repositories);
      const what = $("measure").selectedOptions[0].text;
      return {
        rows: found.slice(0, TOP).map(([repository, value]) => ({ name: repositories.names[repository], from: 0, to: value, label: number(value), fill: "var(--shade-1)", repository, tip: lines(repositories.names[repository], `${number(value)} ${what}`) })),
        nothing: `There are no ${what} here.`,
        aside: together(sums.ofRepository, repositories, data.listed.repositories, "repositories", what),
        head: ["repository", what],
        table: found.map(([repository, value]) => [pick("repository", repositories.names[repository]), value]),
      };
    },

    pulls(sums) {
      const { bins } = sums;
      const drawn = bins.starts.flatMap((_, i) => {
        let height = 0;
        return OUTCOMES.map(([, words, shade], outcome) => {
          const value = sums.closedOfBin[i][outcome];
          return { ...bins.periods[i], from: height, to: (height += value), fill: shade, tip: lines(label(bins, i), `${words}: ${number(value)}`), value };
        }).filter((row) => row.value);
      });
      return {
        rows: drawn, nothing: "No pull request was closed here.",
        legend: OUTCOMES.map(([, words, shade], outcome) => [shade, `${words}: ${number(sums.closed[outcome])}`]),
        aside: `${plural(sums.opened, "pull request")} opened in the same time.`,
        head: [bins.unit, ...OUTCOMES.map(([, words]) => words)],
        table: bins.starts.map((_, i) => [label(bins, i), ...sums.closedOfBin[i]]).filter((row) => row[1] + row[2] + row[3]),
      };
    },
  };

  const lines = (...texts) => texts.join(LINE);
  const pick = (field, value) => ({ field, value });
  const sumOf = (map) => [...map.values()].reduce((a, b) => a + b, 0);

  function label({ unit, starts }, i) {
    const day = dayOf(starts[i]);
    if (unit === "hour") return `${day} ${String(starts[i] % DAY_HOURS).padStart(2, "0")}:00`;
    return unit === "day" ? day : day.slice(0, 7);
  }

  function coverage(sums, i) {
    const cover = sums.coverOfBin[i];
    if (sums.bins.unit === "hour") return cover.complete ? "the hour is complete" : cover.there ? "the hour is not complete" : "the hour is not in the lake";
    return `${number(cover.complete)} of ${plural(cover.hours, "hour")} complete`;
  }

  /** Names by their sums, the largest first, without those that have no name of their own. */
  function largest(sums, { names }) {
    return [...sums].filter(([i, value]) => value > 0 && names[i]).sort((a, b) => b[1] - a[1] || (names[a[0]] < names[b[0]] ? -1 : 1));
  }

  /** What is said of those that have no name of their own. */
  function together(sums, { numbers }, [listed, of], who, what) {
    const others = sums.get(numbers.get(null)) ?? 0;
    const nobody = sums.get(numbers.get("")) ?? 0;
    const said = [];
    if (listed < of) said.push(`${number(listed)} of ${number(of)} ${who} are listed by name, the largest over all days${others ? `; the others come to ${number(others)} ${what}` : ""}.`);
    if (nobody) said.push(`${number(nobody)} ${what} name none.`);
    return said.join(" ");
  }

  // -------------------------------------------------------------------------------------------------- onto the page
  const element = (tag, text, properties = {}) => Object.assign(document.createElement(tag), { textContent: text, ...properties });

  function swatch(shade) {
    const mark = element("i", "", { className: "swatch" });
    mark.style.background = shade;
    return mark;
  }

  function button({ field, value }) {
    const made = element("button", value || NO_TYPE, { type: "button", title: `Show only ${value}` });
    made.addEventListener("click", () => toggle(field, value));
    return made;
  }

  function toggle(field, value) {
    $(field).value = $(field).value === value ? "" : value;
    show();
  }

  function fillCard(name, found, sums) {
    const card = $(name);
    const empty = found.empty ?? found.rows.length === 0;
    card.querySelector(".drawing").hidden = empty;
    const note = card.querySelector(".empty");
    note.hidden = !empty;
    note.textContent = sums.total ? (found.nothing ?? "Nothing to draw.") : "No events for these filters.";
    card.querySelector(".legend").replaceChildren(...(found.legend ?? []).map(legendItem));
    card.querySelector(".aside").textContent = found.aside ?? "";
    card.querySelector(".aside").hidden = !found.aside;
    const complete = sums.ofStatus.get("complete");
    card.querySelector("meter").value = sums.hours ? complete / sums.hours : 0;
    card.querySelector(".basis span").textContent = basis(sums);
    card.querySelector("thead").replaceChildren(rowOf("th", found.head));
    const shown = found.table.slice(0, ROWS_OF_FIGURES);
    card.querySelector("tbody").replaceChildren(...shown.map((row) => rowOf("td", row)));
    card.querySelector("summary").textContent = shown.length < found.table.length ? `Figures (the first ${shown.length} of ${number(found.table.length)})` : "Figures";
  }

  function basis(sums) {
    const of = (status) => sums.ofStatus.get(status);
    const others = ["partial", "suspect"].filter(of).map((status) => `${number(of(status))} ${status}`);
    const said = `behind it: ${number(of("complete"))} of ${plural(sums.hours, "hour")} complete (${share(of("complete"), sums.hours)})`;
    return [said, ...others].join(", ");
  }

  function legendItem([shade, words, ...rest]) {
    const item = element("li", "");
    const choice = rest.at(-1) instanceof Array ? rest.pop() : null;
    item.append(swatch(shade), choice ? button(pick(...choice)) : element("span", words), ...rest.map((text) => element("span", text)));
    return item;
  }

  function rowOf(tag, cells) {
    const row = document.createElement("tr");
    cells.forEach((cell, i) => {
      const made = element(i === 0 && tag === "td" ? "th" : tag, typeof cell === "number" ? number(cell) : typeof cell === "object" ? "" : cell);
      if (typeof cell === "object") made.append(button(cell));
      if (made.tagName === "TH") made.scope = tag === "th" ? "col" : "row";
      if (i > 0 && (tag === "th" || typeof cell === "number" || /^[\d–]/.test(cell))) made.className = "figure";
      row.append(made);
    });
    return row;
  }

  function fillTiles(sums) {
    const complete = sums.ofStatus.get("complete");
    const named = [...sums.ofActor.keys()].filter((actor) => actors.names[actor]).length;
    const others = sums.ofActor.has(actors.numbers.get(null));
    const atLeast = others && isFiltered();
    const closed = sums.closed[0] + sums.closed[1] + sums.closed[2];
    const tiles = {
      total: number(sums.total),
      "total-note": `on ${plural((sums.want.to + 1 - sums.want.from) / DAY_HOURS, "day")}`,
      merged: number(sums.closed[0]),
      "merged-note": `of ${number(closed)} closed${sums.closed[2] ? `, ${number(sums.closed[2])} do not tell` : ""}`,
      users: others && !atLeast ? number(data.listed.actors[1]) : `${number(named)}${atLeast ? "+" : ""}`,
      "users-note": atLeast ? "others are counted together" : "with events",
      "bots-share": share(sums.byBots, sums.total),
      "bots-note": plural(sums.byBots, "event"),
      complete: share(complete, sums.hours),
      "complete-note": `${number(complete)} of ${number(sums.hours)}`,
    };
    for (const [id, text] of Object.entries(tiles)) $(id).textContent = text;
  }

  const isFiltered = () => FIELDS.some((field) => field !== "measure" && $(field).value !== start[field]);

  function fillFilters(sums, want) {
    for (const field of FIELDS.slice(0, -1)) $(field).classList.toggle("set", $(field).value !== start[field]);
    const said = want.complaints.length ? want.complaints.join(" ") : `${plural(sums.total, "event")} ${isFiltered() ? "for these filters" : "in all"}.`;
    $("spoken").textContent = said;
    $("spoken").classList.toggle("wrong", want.complaints.length > 0);
  }

  const views = new Map();

  /** Vega hands over what stands under the pointer; the lines of it are text. */
  function tip(_handler, event, _item, text) {
    const box = $("tip");
    box.hidden = !text;
    if (!text) return;
    const [title, ...others] = text.split(LINE).filter(Boolean);
    box.replaceChildren(element("b", title), ...others.map((line) => element("div", line)));
    const { width, height } = box.getBoundingClientRect();
    const x = event.clientX + 14 + width > innerWidth ? event.clientX - 14 - width : event.clientX + 14;
    box.style.transform = `translate(${Math.max(x, 4)}px, ${Math.min(event.clientY + 14, innerHeight - height - 4)}px)`;
  }

  async function draw(name, found) {
    const height = SPECS[name].height ?? new Set(found.rows.map((row) => row.name)).size * BAR_HEIGHT;
    if (!views.has(name)) {
      const spec = { width: "container", background: null, padding: { left: 2, top: 2, bottom: 2, right: RIGHT[name] ?? 2 }, config: CONFIG, data: { name: "rows", values: found.rows }, datasets: { ribbon: found.ribbon ?? [] }, ...SPECS[name], height };
      // With "ast" Vega makes do without eval.
      const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip: tip };
      const { view } = await vegaEmbed($(name).querySelector(".chart"), spec, options);
      view.addEventListener("click", (_event, item) => {
        const { type, actor, repository } = item?.datum ?? {};
        if (type !== undefined) toggle("type", types.names[type]);
        else if (actor !== undefined) toggle("actor", actors.names[actor]);
        else if (repository !== undefined) toggle("repository", repositories.names[repository]);
      });
      views.set(name, view);
      return;
    }
    const view = views.get(name).height(height).data("rows", found.rows);
    if (found.ribbon) view.data("ribbon", found.ribbon);
    await view.runAsync();
  }

  let turn = 0;

  async function show() {
    const own = ++turn;
    delete document.documentElement.dataset.ready;
    const want = chosen();
    const sums = counted(want);
    remember();
    fillTiles(sums);
    fillFilters(sums, want);
    for (const [name, chart] of Object.entries(CHARTS)) {
      const found = chart(sums);
      fillCard(name, found, sums);
      if (!$(name).querySelector(".drawing").hidden) await draw(name, found);
      if (own !== turn) return; // the filters changed meanwhile, and that call draws
    }
    document.documentElement.dataset.ready = "";
  }

  /** Offers names that hold what was typed: a list of all of them would be too long to draw. */
  function suggest(field, list, into) {
    const typed = $(field).value.trim().toLowerCase();
    const found = [];
    for (const name of list.names) {
      if (name && name.toLowerCase().includes(typed) && found.push(name) === SUGGESTIONS) break;
    }
    $(into).replaceChildren(...found.map((name) => new Option("", name)));
  }

  // ------------------------------------------------------------------------------------------------------- controls
  for (const field of FIELDS) $(field).addEventListener("change", show);
  $("actor").addEventListener("input", () => suggest("actor", actors, "actors"));
  $("repository").addEventListener("input", () => suggest("repository", repositories, "repositories"));
  $("filters").addEventListener("submit", (event) => {
    event.preventDefault();
    show();
  });
  $("reset").addEventListener("click", (event) => {
    event.preventDefault();
    for (const field of FIELDS) $(field).value = start[field];
    show();
  });
  window.addEventListener("hashchange", () => {
    restore();
    show();
  });

  const THEMES = ["auto", "light", "dark"];
  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "auto") + 1) % THEMES.length];
    root.dataset.theme = next;
    $("theme").textContent = `Theme: ${next}`;
  });

  for (const part of document.querySelectorAll(".scripted")) part.hidden = false;
  restore();
  await show();
})();
