import { createHmac, createPublicKey } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "chai";
import { UnsecuredJWT } from "jose";
import type { Caller } from "../../src/server/access/caller.js";
import { providerKeys } from "../../src/server/access/token-keys.js";
import { createTokenVerifier, type VerifyToken } from "../../src/server/access/token-verification.js";
import { createTokenIssuer, type TokenIssuer } from "../../src/server/access/tokens.js";
import { rejection } from "../support/rejection.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";
import {
  createIdentityProvider,
  type IdentityProvider,
  TEST_AUDIENCE,
  TEST_ISSUER,
  writePrivateKey,
} from "../support/tokens.js";

describe("Token verification", () => {
  let directory: string;
  let provider: IdentityProvider;
  let own: TokenIssuer;
  let verify: VerifyToken;
  let laterMs = 0;

  const verifierOf = (url: URL) =>
    createTokenVerifier({
      issuer: TEST_ISSUER,
      audience: TEST_AUDIENCE,
      providerKeys: providerKeys(url),
      ownKeys: own.publicKeys,
      clock: () => new Date(Date.now() + laterMs),
    });

  beforeEach(async () => {
    laterMs = 0;
    directory = await makeTestDirectory();
    provider = await createIdentityProvider(directory);
    const keyFile = await writePrivateKey(directory);
    own = await createTokenIssuer({ keyFile, executionTokenSeconds: 600, serveTokenSeconds: 3_600 });
    verify = verifierOf(provider.jwksUrl);
  });
  afterEach(() => removeTestDirectory(directory));

  const refusal = async (token: string | Promise<string>) => {
    const { code, reason, message } = await rejection(verify(await token));
    return { code, reason, message };
  };

  it("knows the user and its scopes", async () => {
    const caller = await verify(await provider.userToken({ sub: "bob", scopes: ["read", "run"] }));
    expect(caller).to.deep.equal({ kind: "user", subject: "bob", scopes: new Set(["read", "run"]) });
  });

  it("knows the execution, attempt and epoch of an execution token", async () => {
    const of = { executionId: "0190a0b0-0000-7000-8000-000000000000", attempt: 3, epoch: 2n ** 62n };
    const { token } = await own.mintExecutionToken(of);
    expect(await verify(token)).to.deep.equal({ kind: "execution", ...of } satisfies Caller);
  });

  it("knows the computing unit of a serve token", async () => {
    const of = { projectId: "lab", computingUnitId: "small", subject: "bob" };
    expect(await verify((await own.mintServeToken(of)).token)).to.deep.equal({ kind: "serve", ...of });
  });

  it("gives a user token that claims the executor's scopes none of them", async () => {
    const caller = await verify(await provider.userToken({ scopes: ["execution", "serve", "root"] }));
    expect(caller).to.deep.include({ kind: "user", scopes: new Set() });
  });

  it("refuses a token that has run out, also one it has seen before", async () => {
    expect(await refusal(provider.userToken({ expiresIn: -1 }))).to.include({ reason: "TOKEN_EXPIRED" });
    const token = await provider.userToken({ expiresIn: 60 });
    await verify(token);
    laterMs = 61_000;
    expect(await refusal(token)).to.include({ code: "unauthenticated", reason: "TOKEN_EXPIRED" });
  });

  it("refuses another audience, another issuer and a future token, and says which it is", async () => {
    expect(await refusal(provider.userToken({ audience: "shop" }))).to.include({
      reason: "TOKEN_INVALID",
      message: `The token is meant for another audience than "${TEST_AUDIENCE}".`,
    });
    expect((await refusal(provider.userToken({ issuer: "https://other.test" }))).message).to.contain("another issuer");
    expect((await refusal(provider.userToken({ notBefore: 60 }))).message).to.contain("not valid yet");
  });

  it("refuses a user token for the executor's audience, and an execution token signed by the identity provider", async () => {
    expect(await refusal(provider.userToken({ audience: "postern-executor" }))).to.include({ reason: "TOKEN_INVALID" });
    const forged = provider.userToken({ issuer: "postern", audience: "postern-executor", scopes: ["execution"] });
    expect(await refusal(forged)).to.include({ reason: "TOKEN_INVALID" });
  });

  it("refuses a token without signature, and one signed with a public key as a shared secret", async () => {
    const claims = { iss: TEST_ISSUER, aud: TEST_AUDIENCE, sub: "eve", scope: "admin", exp: 4e9 };
    expect(await refusal(new UnsecuredJWT(claims).encode())).to.include({
      code: "unauthenticated",
      reason: "TOKEN_INVALID",
    });
    const jwk = JSON.parse(await readFile(provider.jwksUrl, "utf8")).keys[0];
    const secret = createPublicKey({ key: jwk, format: "jwk" }).export({ type: "spki", format: "pem" });
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const signed = `${part({ alg: "HS256", kid: jwk.kid })}.${part(claims)}`;
    const forged = `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
    expect((await refusal(forged)).message).to.contain("algorithm");
  });

  it("refuses a token with a changed claim, and text that is no token", async () => {
    const [header, payload, signature] = (await provider.userToken({ sub: "bob" })).split(".");
    const claims = { ...JSON.parse(Buffer.from(payload!, "base64url").toString()), sub: "root" };
    const changed = [header, Buffer.from(JSON.stringify(claims)).toString("base64url"), signature].join(".");
    expect(await refusal(changed)).to.include({ message: "The token's signature is wrong." });
    for (const text of ["", "x", "a.b.c", "..", "x".repeat(20_000)])
      expect(await refusal(text), text.slice(0, 10)).to.include({ code: "unauthenticated", reason: "TOKEN_INVALID" });
  });

  it("refuses a user token that names nobody", async () => {
    expect((await refusal(provider.userToken({ sub: "" }))).message).to.contain("no subject");
  });

  it("takes a key that the file gained after the start, and refuses one that it never had", async () => {
    await verify(await provider.userToken());
    await provider.rotate();
    expect(await verify(await provider.userToken({ sub: "carol" }))).to.include({ subject: "carol" });
    await provider.rotate({ publish: false });
    expect((await refusal(provider.userToken())).message).to.contain("a key this server does not know");
  });

  it("finds the key of a token that names none among several", async () => {
    provider = await createIdentityProvider(directory, { kids: false });
    await provider.rotate();
    await provider.rotate();
    expect(await verify(await provider.userToken({ sub: "carol" }))).to.include({ subject: "carol" });
    await provider.rotate({ publish: false });
    expect(await refusal(provider.userToken())).to.include({ reason: "TOKEN_INVALID" });
  });

  it("does not verify a token anew while it remembers it, and forgets it after ten minutes", async () => {
    const token = await provider.userToken({ expiresIn: 3_600 });
    await verify(token);
    await provider.rotate({ forget: true });
    expect(await verify(token)).to.include({ kind: "user" });
    laterMs = 601_000;
    expect(await refusal(token)).to.include({ reason: "TOKEN_INVALID" });
  });

  it("says UNAVAILABLE, not a word about the token, when the provider's keys cannot be had", async () => {
    await writeFile(provider.jwksUrl, "not json");
    expect(await refusal(provider.userToken())).to.include({ code: "unavailable" });
    verify = verifierOf(new URL("http://127.0.0.1:9/nobody-listens"));
    expect(await refusal(provider.userToken())).to.include({ code: "unavailable" });
  });

  it("gets the provider's keys over HTTP once, and keeps them while the provider is away", async () => {
    let requests = 0;
    const server = createServer(async (_, response) => {
      requests++;
      response.setHeader("content-type", "application/json").end(await readFile(provider.jwksUrl));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      verify = verifierOf(new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`));
      await verify(await provider.userToken());
      await verify(await provider.userToken({ sub: "bob" }));
      expect(requests).to.equal(1);
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
    expect(await verify(await provider.userToken({ sub: "carol" }))).to.include({ subject: "carol" });
  });
});
