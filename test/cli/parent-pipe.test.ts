import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect } from "chai";

const PROGRAM = `
  import { exitWhenParentDies } from ${JSON.stringify(new URL("../../src/process/parent-pipe.ts", import.meta.url).href)};
  process.on("SIGTERM", () => { console.log("in order"); clearInterval(stay); });
  const stay = setInterval(() => {}, 1000);
  exitWhenParentDies();
  console.log("up");
`;

function start(env: NodeJS.ProcessEnv) {
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", PROGRAM], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ["pipe", "pipe", "inherit"],
  });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    said += text;
  });
  return { child, said: () => said };
}

describe("parent pipe", () => {
  it("ends a child in order once its parent's end of the pipe closes", async () => {
    const { child, said } = start({ POSTERN_PARENT_PIPE: "1" });
    await once(child.stdout, "data");
    child.stdin.end();
    const [code] = await once(child, "close");
    expect([code, said()]).to.deep.equal([0, "up\nin order\n"]);
  });

  it("leaves a child alone that was not asked to watch", async () => {
    const { child, said } = start({});
    await once(child.stdout, "data");
    child.stdin.destroy();
    child.kill("SIGKILL");
    const [, signal] = await once(child, "close");
    expect([signal, said()]).to.deep.equal(["SIGKILL", "up\n"]);
  });
});
