import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from "jose";
import { createTokenIssuer } from "../../src/server/access/tokens.js";
import { rejection } from "../support/rejection.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";
import { writePrivateKey } from "../support/tokens.js";

describe("The server's own tokens", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await makeTestDirectory();
  });
  afterEach(() => removeTestDirectory(directory));

  const clock = () => new Date("2026-05-01T10:00:00.700Z");
  const issuerOf = (keyFile: string) =>
    createTokenIssuer({ keyFile, executionTokenSeconds: 600, serveTokenSeconds: 3_600, clock });
  const of = { executionId: "0190a0b0-0000-7000-8000-000000000000", attempt: 2, epoch: 2n ** 60n };

  for (const [kind, alg] of [
    ["ed25519", "EdDSA"],
    ["p256", "ES256"],
  ] as const) {
    it(`are signed with ${alg} and bound to execution, attempt and epoch (${kind})`, async () => {
      const issuer = await issuerOf(await writePrivateKey(directory, { kind }));
      const { token, expiresAt } = await issuer.mintExecutionToken(of);
      const { payload, protectedHeader } = await jwtVerify(token, createLocalJWKSet(issuer.publicKeys), {
        currentDate: clock(),
      });
      expect(protectedHeader).to.include({ alg, kid: issuer.publicKeys.keys[0]!.kid });
      expect(payload).to.deep.include({
        iss: "postern",
        aud: "postern-executor",
        scope: "execution",
        exe: of.executionId,
        att: 2,
        epo: (2n ** 60n).toString(),
      });
      expect(expiresAt).to.deep.equal(new Date("2026-05-01T10:10:00Z"));
      expect(payload.exp).to.equal(expiresAt.getTime() / 1_000);
    });
  }

  it("are verified by keys that hold no private part", async () => {
    const { publicKeys } = await issuerOf(await writePrivateKey(directory));
    expect(publicKeys.keys[0]).not.to.have.property("d");
  });

  it("have the same key id on every replica that has the same key", async () => {
    const keyFile = await writePrivateKey(directory);
    const [one, two] = [await issuerOf(keyFile), await issuerOf(keyFile)];
    const kids = [await one.mintExecutionToken(of), await two.mintExecutionToken(of)].map(
      ({ token }) => decodeProtectedHeader(token).kid,
    );
    expect(kids[0]).to.equal(kids[1]);
  });

  it("are not signed with a key that others can read", async () => {
    const keyFile = await writePrivateKey(directory);
    await chmod(keyFile, 0o640);
    expect((await rejection(issuerOf(keyFile))).message)
      .to.contain("POSTERN_EXECUTION_KEY_FILE")
      .and.contain("chmod 600");
  });

  it("are not signed with another kind of key, or with none", async () => {
    const rsa = await writePrivateKey(directory, { kind: "rsa" });
    expect((await rejection(issuerOf(rsa))).message).to.contain("neither Ed25519 nor EC P-256");
    const text = join(directory, "text");
    await writeFile(text, "no key", { mode: 0o600 });
    expect((await rejection(issuerOf(text))).message).to.contain("no unencrypted private key");
    expect((await rejection(issuerOf(join(directory, "absent")))).message).to.contain("POSTERN_EXECUTION_KEY_FILE");
  });
});
