import { expect } from "chai";
import fc from "fast-check";
import {
  type Access,
  accessTo,
  PERMISSIONS,
  type Permission,
  RESOURCE_KINDS,
  ROLES,
  type Role,
  roleIncludes,
} from "../../src/core/access.js";

describe("access to a resource", () => {
  // role, grant, public → workflow or dataset, computing unit
  const table: [Role | null, Permission | null, boolean, Access, Access][] = [
    [null, null, false, "NONE", "NONE"],
    [null, null, true, "READ", "WRITE"],
    [null, "READ", false, "READ", "READ"],
    [null, "READ", true, "READ", "WRITE"],
    [null, "WRITE", false, "WRITE", "WRITE"],
    [null, "WRITE", true, "WRITE", "WRITE"],
    ["VIEWER", null, false, "READ", "READ"],
    ["VIEWER", null, true, "READ", "WRITE"],
    ["VIEWER", "READ", false, "READ", "READ"],
    ["VIEWER", "WRITE", false, "WRITE", "WRITE"],
    ["EDITOR", null, false, "WRITE", "WRITE"],
    ["EDITOR", "READ", false, "WRITE", "WRITE"],
    ["OWNER", null, false, "WRITE", "WRITE"],
    ["OWNER", "READ", true, "WRITE", "WRITE"],
  ];
  for (const [role, grant, isPublic, data, unit] of table) {
    const standing = { role, grant, public: isPublic };
    it(`gives ${role ?? "a stranger"} with ${grant ?? "no"} grant on ${isPublic ? "public" : "private"} things ${data}, on a computing unit ${unit}`, () => {
      expect(accessTo("WORKFLOW", standing)).to.equal(data);
      expect(accessTo("DATASET", standing)).to.equal(data);
      expect(accessTo("COMPUTING_UNIT", standing)).to.equal(unit);
    });
  }

  const standings = fc.record({
    role: fc.constantFrom(null, ...ROLES),
    grant: fc.constantFrom(null, ...PERMISSIONS),
    public: fc.boolean(),
  });

  it("lets whatever opens a resource at all open it for reading, as lists assume", () => {
    fc.assert(
      fc.property(fc.constantFrom(...RESOURCE_KINDS), standings, (kind, standing) => {
        const opened = standing.role !== null || standing.grant !== null || standing.public;
        expect(accessTo(kind, standing) !== "NONE").to.equal(opened);
      }),
    );
  });

  it("never takes access away by adding a grant, a public flag or a role", () => {
    const rank = (access: Access) => ["NONE", "READ", "WRITE"].indexOf(access);
    fc.assert(
      fc.property(fc.constantFrom(...RESOURCE_KINDS), standings, standings, (kind, a, b) => {
        const both = { role: a.role ?? b.role, grant: a.grant ?? b.grant, public: a.public || b.public };
        expect(rank(accessTo(kind, both))).to.be.at.least(rank(accessTo(kind, a)));
      }),
    );
  });
});

describe("a role", () => {
  it("includes itself and every smaller one", () => {
    expect(ROLES.map((least) => roleIncludes("EDITOR", least))).to.deep.equal([true, true, false]);
    expect(ROLES.map((least) => roleIncludes("OWNER", least))).to.deep.equal([true, true, true]);
  });

  it("of nobody includes none", () => {
    expect(ROLES.some((least) => roleIncludes(null, least))).to.equal(false);
  });
});
