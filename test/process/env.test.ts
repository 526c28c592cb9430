import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { AppError } from "../../src/core/app-error.js";
import { environment, readSecretFile } from "../../src/process/env.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";

describe("The environment", () => {
  const env = environment({
    TEXT: " word ",
    EMPTY: "",
    NUMBER: "42",
    WRONG: "4x",
    YES: "1",
    NO: "false",
    LEVEL: "warn",
  });

  it("gives text without the blanks around it, and counts an empty value as absent", () => {
    expect(env.text("TEXT")).to.equal("word");
    expect(env.text("EMPTY", "default")).to.equal("default");
    expect(env.optionalText("EMPTY")).to.equal(undefined);
    expect(() => env.text("EMPTY")).to.throw(AppError, "EMPTY is not set");
  });

  it("gives whole numbers within their range, and names the variable otherwise", () => {
    expect(env.integer("NUMBER", { defaultTo: 1, min: 0 })).to.equal(42);
    expect(env.integer("ABSENT", { defaultTo: 7, min: 0 })).to.equal(7);
    expect(() => env.integer("WRONG", { defaultTo: 1, min: 0 })).to.throw(AppError, 'WRONG is "4x"');
    expect(() => env.integer("NUMBER", { defaultTo: 1, min: 0, max: 41 })).to.throw(AppError, "from 0 to 41");
  });

  it("gives flags and words of a list", () => {
    expect([env.flag("YES"), env.flag("NO"), env.flag("ABSENT")]).to.deep.equal([true, false, false]);
    expect(() => env.flag("TEXT")).to.throw(AppError, "TEXT");
    expect(env.oneOf("LEVEL", ["info", "warn"], "info")).to.equal("warn");
    expect(() => env.oneOf("TEXT", ["info", "warn"], "info")).to.throw(AppError, "one of info, warn");
  });

  describe("with files", () => {
    let directory: string;
    before(async () => {
      directory = await makeTestDirectory();
    });
    after(() => removeTestDirectory(directory));

    it("refuses a secret that others can read, and says how to mend it", async () => {
      const path = join(directory, "secret");
      await writeFile(path, "1234\n", { mode: 0o600 });
      expect(environment({ SECRET: path }).secretFile("SECRET")).to.equal(path);
      expect(readSecretFile("SECRET", path)).to.equal("1234");
      for (const mode of [0o640, 0o604, 0o666]) {
        await chmod(path, mode);
        expect(() => environment({ SECRET: path }).secretFile("SECRET")).to.throw(AppError, `chmod 600 ${path}`);
      }
    });

    it("refuses a file that is absent, empty as a secret, or a directory", async () => {
      const empty = join(directory, "empty");
      await writeFile(empty, "\n", { mode: 0o600 });
      expect(() => readSecretFile("SECRET", empty)).to.throw(AppError, "is empty");
      expect(() => environment({ FILE: directory }).file("FILE")).to.throw(AppError, "FILE names");
      expect(() => environment({ FILE: join(directory, "absent") }).file("FILE")).to.throw(AppError, "FILE names");
    });
  });
});
