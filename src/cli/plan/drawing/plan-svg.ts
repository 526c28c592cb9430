// A plan as a picture: one SVG that needs nothing else. Regions are frames, operators boxes, links lines from port to
// port; lines through storage are heavy, those the schedule chose dashed. Whatever comes from a file is escaped.
import { truncate } from "../../text.js";
import { type PlanDocument, type PlannedLink, type PlannedOperator, storedLinks } from "../plan-document.js";
import { type Grid, gridOf, type Item, type Slot } from "./columns.js";
import { reduceCrossings } from "./order.js";
import { FRAME, OPERATOR_WIDTH, type Placement, place } from "./place.js";

const HEAD = 44;
const FOOT = 44;
/** Columns of text that fit into a box. */
const LABEL_WIDTH = 24;

/** Draws a plan; `title` stands above it. */
export function planSvg(plan: PlanDocument, title: string): string {
  const grid = gridOf(plan);
  reduceCrossings(grid);
  const ports = portsOf(plan);
  const placed = place(grid, (operator) => {
    const { inputs, outputs } = ports.get(operator)!;
    return Math.max(inputs.length, outputs.length);
  });
  const byId = new Map(plan.operators.map((operator) => [operator.id, operator]));
  const items = [...placed.top.keys()].filter(({ operator }) => operator !== undefined);
  const legend = legendOf(plan);
  const width = Math.ceil(Math.max(placed.width, legend.width, 24 + title.length * 7.5));
  const height = Math.ceil(placed.height + HEAD + FOOT);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>${escaped(title)}</title>`,
    STYLE,
    `<rect class="paper" width="${width}" height="${height}"/>`,
    `<text class="head" x="24" y="30">${escaped(title)}</text>`,
    `<g transform="translate(0 ${HEAD})">`,
    ...grid.levels.flatMap(({ slots }) => slots).flatMap((slot) => frame(slot, plan, placed)),
    ...lines(plan, grid, placed, ports),
    ...items.map((item) => box(item, byId.get(item.operator!)!, ports, plan, placed)),
    "</g>",
    `<g transform="translate(24 ${height - FOOT + 22})">${legend.text}</g>`,
    "</svg>",
    "",
  ].join("\n");
}

const STYLE = `<style>
text { font: 12px system-ui, sans-serif; fill: #1c2733 }
.paper { fill: #fff }
.head { font-size: 14px; font-weight: 600 }
.region rect { fill: #eef3f9; stroke: #a9bdd4 }
.region.cached rect { fill: #e6f4e8; stroke: #86b98f; stroke-dasharray: 6 3 }
.region text { font-size: 11px; fill: #55677a }
.operator rect { fill: #fff; stroke: #55677a }
.operator .type { font-size: 11px; fill: #55677a }
.link { fill: none; stroke: #7d8b99; stroke-width: 1.3 }
.link.stored { stroke: #b4541a; stroke-width: 2.6 }
.link.chosen { stroke-dasharray: 7 4 }
.port { fill: #55677a }
.viewed { fill: #fff; stroke: #1668b8; stroke-width: 2.4 }
</style>`;

interface Ports {
  inputs: number[];
  outputs: number[];
}

/** The ports that something is linked to, and the viewed ones, in order. */
function portsOf({ operators, links, viewed }: PlanDocument): Map<string, Ports> {
  const ports = new Map<string, Ports>(operators.map(({ id }) => [id, { inputs: [], outputs: [] }]));
  const add = (side: number[], port: number) => {
    if (!side.includes(port)) side.push(port);
  };
  for (const { from, fromPort, to, toPort } of links) {
    add(ports.get(from)!.outputs, fromPort);
    add(ports.get(to)!.inputs, toPort);
  }
  for (const { operator, port } of viewed) add(ports.get(operator)!.outputs, port);
  for (const { inputs, outputs } of ports.values()) for (const side of [inputs, outputs]) side.sort((a, b) => a - b);
  return ports;
}

/** How far below the upper end of its box a port is. */
const portY = (side: readonly number[], port: number, height: number): number =>
  ((side.indexOf(port) + 1) / (side.length + 1)) * height;

function frame(slot: Slot, { regions }: PlanDocument, { columnX, slots }: Placement): string[] {
  if (slot.region === undefined) return [];
  const { id, level, cached } = regions.find((region) => region.id === slot.region)!;
  const columns = slot.columns.flat().filter(({ operator }) => operator !== undefined);
  const first = columnX[Math.min(...columns.map(({ column }) => column))]!;
  const last = columnX[Math.max(...columns.map(({ column }) => column))]! + OPERATOR_WIDTH;
  const { top, height } = slots.get(slot)!;
  const label = `region ${id} · level ${level}${cached ? " · cached" : ""}`;
  return [
    `<g class="region${cached ? " cached" : ""}" data-region="${id}" data-level="${level}"><rect x="${px(first - FRAME)}" y="${px(top)}" width="${px(last - first + 2 * FRAME)}" height="${px(height)}" rx="12"/><text x="${px(first)}" y="${px(top + 15)}">${label}</text></g>`,
  ];
}

function box(
  item: Item,
  operator: PlannedOperator,
  ports: ReadonlyMap<string, Ports>,
  { viewed }: PlanDocument,
  { columnX, top, heightOf }: Placement,
): string {
  const { id, operatorId, layer, type, displayName } = operator;
  const [x, y, height] = [columnX[item.column]!, top.get(item)!, heightOf(item)];
  const { inputs, outputs } = ports.get(id)!;
  const shown = new Set(viewed.filter((port) => port.operator === id).map(({ port }) => port));
  const dot = (cx: number, side: number[], port: number, looked: boolean) => {
    const at = `cx="${px(cx)}" cy="${px(y + portY(side, port, height))}"`;
    return looked
      ? `<circle class="viewed" ${at} r="5"><title>output ${port} is viewed</title></circle>`
      : `<circle class="port" ${at} r="2.5"/>`;
  };
  const middle = y + height / 2;
  return [
    `<g class="operator" data-operator="${escaped(id)}"><title>${escaped(`${id} (${type})`)}</title>`,
    `<rect x="${px(x)}" y="${px(y)}" width="${OPERATOR_WIDTH}" height="${px(height)}" rx="5"/>`,
    `<text x="${px(x + 11)}" y="${px(middle - 3)}">${escaped(truncate(displayName || operatorId, LABEL_WIDTH))}</text>`,
    `<text class="type" x="${px(x + 11)}" y="${px(middle + 12)}">${escaped(truncate(layer === "main" ? type : `${type} · ${layer}`, LABEL_WIDTH))}</text>`,
    ...inputs.map((port) => dot(x, inputs, port, false)),
    ...outputs.map((port) => dot(x + OPERATOR_WIDTH, outputs, port, shown.has(port))),
    "</g>",
  ].join("");
}

/** Lines through storage last, so that they are seen where lines cross. */
function lines(plan: PlanDocument, { routes }: Grid, placed: Placement, ports: ReadonlyMap<string, Ports>): string[] {
  const stored = new Set(storedLinks(plan).map(({ id }) => id));
  const drawn = plan.links.map((link, i) => ({
    stored: stored.has(link.id),
    text: line(link, routes[i]!, stored.has(link.id), placed, ports),
  }));
  return [...drawn.filter((one) => !one.stored), ...drawn.filter((one) => one.stored)].map(({ text }) => text);
}

function line(
  link: PlannedLink,
  route: Item[],
  stored: boolean,
  { columnX, top, heightOf }: Placement,
  ports: ReadonlyMap<string, Ports>,
): string {
  const [source, target] = [route[0]!, route.at(-1)!];
  let x = columnX[source.column]! + OPERATOR_WIDTH;
  let y = top.get(source)! + portY(ports.get(link.from)!.outputs, link.fromPort, heightOf(source));
  let path = `M${px(x)} ${px(y)}`;
  const curveTo = (toX: number, toY: number) => {
    const middle = px((x + toX) / 2);
    path += `C${middle} ${px(y)} ${middle} ${px(toY)} ${px(toX)} ${px(toY)}`;
    [x, y] = [toX, toY];
  };
  for (const bend of route.slice(1, -1)) {
    curveTo(columnX[bend.column]!, top.get(bend)! + heightOf(bend) / 2);
    x += OPERATOR_WIDTH;
    path += `H${px(x)}`;
  }
  curveTo(columnX[target.column]!, top.get(target)! + portY(ports.get(link.to)!.inputs, link.toPort, heightOf(target)));
  const kind = !stored ? "link" : link.mustMaterialize ? "link stored" : "link stored chosen";
  const why = link.why || (stored ? "Passes through storage." : "Rows pass as they come.");
  const ends = `${link.from}:${link.fromPort} → ${link.to}:${link.toPort}`;
  return `<path class="${kind}" data-link="${escaped(link.id)}" d="${path}"><title>${escaped(`${ends}\n${why}`)}</title></path>`;
}

/** What the marks mean, only those that are there. */
function legendOf(plan: PlanDocument): { text: string; width: number } {
  const stroke = (kind: string) => `<path class="${kind}" d="M0 -4H28"/>`;
  const entries: [mark: string, text: string, there: boolean][] = [
    [stroke("link"), "rows pass as they come", true],
    [stroke("link stored"), "must pass through storage", plan.links.some((link) => link.mustMaterialize)],
    [stroke("link stored chosen"), "chosen by the schedule", plan.materialized.length > 0],
    [`<circle class="viewed" cx="20" cy="-4" r="5"/>`, "viewed result", plan.viewed.length > 0],
  ];
  let x = 0;
  const text = entries
    .filter(([, , there]) => there)
    .map(([mark, label]) => {
      const entry = `<g transform="translate(${x} 0)">${mark}<text x="36">${label}</text></g>`;
      x += 60 + label.length * 6.5;
      return entry;
    });
  return { text: text.join(""), width: x + 48 };
}

const px = (value: number): string => `${Math.round(value * 10) / 10}`;

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** Text for XML; what XML cannot hold becomes a replacement character. */
const escaped = (text: string): string =>
  text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is replaced
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Surrogate}/gu, "\ufffd")
    .replace(/[&<>"]/g, (character) => ENTITIES[character]!);
