import { expect } from "chai";
import fc from "fast-check";
import { gridOf } from "../../src/cli/plan/drawing/columns.js";
import { countCrossings, reduceCrossings } from "../../src/cli/plan/drawing/order.js";
import { inOrder, OPERATOR_WIDTH, place } from "../../src/cli/plan/drawing/place.js";
import { planSvg } from "../../src/cli/plan/drawing/plan-svg.js";
import type { PlanDocument } from "../../src/cli/plan/plan-document.js";
import { texeraPlan } from "../../src/cli/plan/texera-plan.js";
import { anyWorkflow, exported, link, operator } from "../core/exported-workflows.js";

const planned = (json: unknown): PlanDocument => texeraPlan(json, "w.json", { mode: "exact" }).document;
const anyPlan = anyWorkflow.map(planned);

/** Every tag of the drawing, checked to be well formed. */
function tagsOf(svg: string): { name: string; text: string }[] {
  const open: string[] = [];
  const tags: { name: string; text: string }[] = [];
  for (const [text, close, name, rest] of svg.matchAll(/<(\/?)([a-z]+)((?:\s[\w:-]+="[^"<]*")*)\s*\/?>/g)) {
    if (close) expect(open.pop()).to.equal(name);
    else {
      tags.push({ name: name!, text: rest! });
      if (!text.endsWith("/>")) open.push(name!);
    }
  }
  expect(open).to.deep.equal([]);
  const angles = svg.replace(/<style>[\s\S]*?<\/style>/, "").match(/</g)!.length;
  const closing = svg.match(/<\//g)!.length;
  expect(angles).to.equal(tags.length + closing - 2);
  return tags;
}

const count = (tags: { text: string }[], part: string) => tags.filter(({ text }) => text.includes(part)).length;

describe("drawing of a plan", () => {
  it("has a box for each operator, a frame for each region, a line for each link and a mark for each viewed port", () => {
    fc.assert(
      fc.property(anyPlan, (plan) => {
        const tags = tagsOf(planSvg(plan, "A plan"));
        expect(count(tags, "data-operator=")).to.equal(plan.operators.length);
        expect(count(tags, "data-region=")).to.equal(plan.regions.length);
        expect(count(tags, "data-link=")).to.equal(plan.links.length);
        const legend = plan.viewed.length > 0 ? 1 : 0;
        expect(count(tags, 'class="viewed"')).to.equal(plan.viewed.length + legend);
      }),
      { numRuns: 60 },
    );
  });

  it("puts every link from left to right, past operators of other columns by bends, and inside the frame where both ends are", () => {
    fc.assert(
      fc.property(anyPlan, (plan) => {
        for (const [i, route] of gridOf(plan).routes.entries()) {
          expect(route[0]!.operator).to.equal(plan.links[i]!.from);
          expect(route.at(-1)!.operator).to.equal(plan.links[i]!.to);
          expect(route.slice(1, -1).every((item) => item.operator === undefined)).to.equal(true);
          const columns = route.map(({ column }) => column);
          expect(columns).to.deep.equal(columns.map((_, step) => columns[0]! + step));
          const [first, last] = [route[0]!.slot, route.at(-1)!.slot];
          if (first === last) expect(route.every(({ slot }) => slot === first)).to.equal(true);
        }
      }),
    );
  });

  it("never lets operators or frames overlap", () => {
    fc.assert(
      fc.property(anyPlan, (plan) => {
        const grid = gridOf(plan);
        reduceCrossings(grid);
        const { columnX, top, heightOf, slots, width, height } = place(grid, () => 2);
        const operators = [...top].filter(([item]) => item.operator !== undefined);
        const boxes = operators.map(([item, y]) => ({
          x: columnX[item.column]!,
          y,
          right: columnX[item.column]! + OPERATOR_WIDTH,
          bottom: y + heightOf(item),
          frame: slots.get(item.slot)!,
        }));
        for (const [i, a] of boxes.entries()) {
          expect(a.y).to.be.at.least(a.frame.top - 0.01);
          expect(a.bottom).to.be.at.most(a.frame.top + a.frame.height + 0.01);
          expect([a.x >= 0, a.y >= 0, a.right <= width, a.bottom <= height]).to.deep.equal([true, true, true, true]);
          for (const b of boxes.slice(i + 1))
            expect(a.right <= b.x || b.right <= a.x || a.bottom <= b.y || b.bottom <= a.y).to.equal(true);
        }
        for (const level of grid.levels)
          for (const [i, slot] of level.slots.entries()) {
            const next = level.slots[i + 1];
            if (next) expect(slots.get(slot)!.top + slots.get(slot)!.height).to.be.at.most(slots.get(next)!.top + 0.01);
          }
      }),
      { numRuns: 60 },
    );
  });

  it("has no more crossings after ordering than before, and none where none is needed", () => {
    fc.assert(
      fc.property(anyPlan, (plan) => {
        const grid = gridOf(plan);
        const before = countCrossings(grid.levels);
        reduceCrossings(grid);
        expect(countCrossings(grid.levels)).to.be.at.most(before);
      }),
    );
    // Two pairs drawn crosswise: scans in one order, what they feed in the other.
    const plan = planned(
      exported(
        ["s1", "s2"].map((id) => operator(id, "CSVFileScan")).concat(["f2", "f1"].map((id) => operator(id, "Filter"))),
        [link("s1", "f1"), link("s2", "f2")],
      ),
    );
    const ids = ["s1", "s2", "f2", "f1"];
    const whole = {
      ...plan,
      operators: ids.map((id) => plan.operators.find((one) => one.id === id)!),
      regions: [{ id: 1, level: 0, operators: ids, cached: false }],
    };
    const grid = gridOf(whole);
    expect(countCrossings(grid.levels)).to.equal(1);
    reduceCrossings(grid);
    expect(countCrossings(grid.levels)).to.equal(0);
  });

  it("tells lines through storage from others, with the reason as their title", () => {
    const svg = planSvg(
      planned(
        exported(
          [operator("csv", "CSVFileScan"), operator("keyword", "KeywordSearch"), operator("join", "HashJoin")],
          [link("csv", "join:0"), link("csv", "keyword"), link("keyword", "join:1")],
        ),
      ),
      "A plan",
    );
    expect(svg.match(/class="link" data-link/g)).to.have.length(2);
    expect(svg.match(/class="link stored" data-link/g)).to.have.length(1);
    expect(svg.match(/class="link stored chosen" data-link/g)).to.have.length(1);
    expect(svg).to.contain("join/build:0 → join/probe:0\nIts source gives no row before it has read its last one.");
    expect(svg).to.contain("Chosen by the schedule");
  });

  it("shows cached regions in a tint of their own", () => {
    const plan = planned(exported([operator("a", "CSVFileScan"), operator("b", "CSVFileScan")], []));
    const svg = planSvg({ ...plan, regions: plan.regions.map((r) => ({ ...r, cached: r.id === 1 })) }, "A plan");
    expect(svg.match(/class="region cached" data-region="1"/g)).to.have.length(1);
    expect(svg.match(/class="region" data-region="2"/g)).to.have.length(1);
    expect(svg).to.contain("region 1 · level 0 · cached");
  });

  it("puts cached regions before those that read them, though their level is 0 as well", () => {
    const plan = planned(
      exported(
        [operator("a", "CSVFileScan"), operator("s", "Sort"), operator("f", "Filter")],
        [link("a", "s"), link("s", "f")],
      ),
    );
    const regions = [
      { id: 1, level: 0, operators: ["f"], cached: false },
      { id: 2, level: 0, operators: ["a", "s"], cached: true },
    ];
    const { levels } = gridOf({ ...plan, regions });
    expect(levels.map(({ slots }) => slots.map(({ region }) => region))).to.deep.equal([[2], [1]]);
  });

  it("escapes whatever comes from the file, and refers to nothing outside itself", () => {
    const nasty = `</text><script>"x" & 'y'</script>\u0000\u001b[31m\ud800`;
    const plan = planned(
      exported(
        [operator('a"><b', "CSVFileScan", { customDisplayName: nasty }), operator("<f>&", "<Type>")],
        [{ ...link('a"><b', "<f>&"), linkID: '"><script>' }],
      ),
    );
    const svg = planSvg(plan, nasty);
    const tags = tagsOf(svg);
    expect(tags.map(({ name }) => name)).not.to.include("script");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
    expect(svg).not.to.match(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ud800-\udfff]/);
    expect(svg.replace('xmlns="http://www.w3.org/2000/svg"', "")).not.to.match(/https?:|href|url\(|@import/);
  });

  it("keeps things in order and apart, as near to where they should be as can be", () => {
    const lists = fc.array(fc.tuple(fc.integer({ min: -500, max: 500 }), fc.integer({ min: 1, max: 60 })), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(lists, fc.integer({ min: -40, max: 40 }), fc.nat(7), (things, shift, which) => {
        const wanted = things.map(([want]) => want);
        const sizes = things.map(([, size]) => size);
        const tops = inOrder(wanted, sizes, 10);
        const fits = (at: number[]) => at.every((y, i) => i === 0 || at[i - 1]! + sizes[i - 1]! + 10 <= y + 1e-6);
        expect(fits(tops)).to.equal(true);
        const error = (at: number[]) => at.reduce((sum, y, i) => sum + (y - wanted[i]!) ** 2, 0);
        const other = tops.map((y, i) => (i === which % tops.length ? y + shift : y));
        if (fits(other)) expect(error(other)).to.be.at.least(error(tops) - 1e-6);
      }),
    );
  });
});
