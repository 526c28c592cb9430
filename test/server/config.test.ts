import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { AppError } from "../../src/core/app-error.js";
import { readServerConfig } from "../../src/server/config.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";
import { writePrivateKey } from "../support/tokens.js";

describe("The server's configuration", () => {
  let directory: string;
  let minimal: Record<string, string>;
  before(async () => {
    directory = await makeTestDirectory();
    const jwks = join(directory, "jwks.json");
    await writeFile(jwks, '{"keys": []}');
    minimal = {
      POSTERN_DATABASE_URL: "postgres://postern@/postern?host=/run/postgres&port=5432",
      POSTERN_EXECUTION_KEY_FILE: await writePrivateKey(directory),
      POSTERN_ISSUER: "https://identity.example",
      POSTERN_AUDIENCE: "postern",
      POSTERN_JWKS_URL: `file://${jwks}`,
      POSTERN_RESULT_ROOT: "file:///var/lib/postern/",
    };
  });
  after(() => removeTestDirectory(directory));

  it("needs six variables, and has a default for every other", () => {
    expect(readServerConfig(minimal)).to.deep.include({
      listen: "127.0.0.1:7700",
      databasePoolSize: 10,
      resultRoot: "file:///var/lib/postern",
      datasetRoots: [],
      tls: undefined,
      allowPlaintext: false,
      leaseMs: 15_000,
      attachWithinMs: 5_000,
      cancelGraceMs: 10_000,
      executionTokenSeconds: 600,
      serveTokenSeconds: 3_600,
      maxAttempts: 3,
      maxUploadBytes: 10 * 1024 ** 3,
      sweepGraceMs: 600_000,
      logLevel: "info",
    });
    for (const name of Object.keys(minimal)) {
      const { [name]: _, ...rest } = minimal;
      expect(() => readServerConfig(rest), name).to.throw(AppError, `${name} is not set`);
    }
  });

  const refused: [name: string, value: string, says: string][] = [
    ["POSTERN_LISTEN", "7700", "host:port"],
    ["POSTERN_LISTEN", "localhost:70000", "host:port"],
    ["POSTERN_DATABASE_URL", "mysql://x", "postgres://"],
    ["POSTERN_DATABASE_POOL_SIZE", "0", "from 1 to 1000"],
    ["POSTERN_ISSUER", "postern", "signs its own tokens"],
    ["POSTERN_JWKS_URL", "http://identity.example/jwks", "https://"],
    ["POSTERN_JWKS_URL", "file:///nowhere/jwks.json", "cannot be read"],
    ["POSTERN_JWKS_URL", "keys.json", "https://"],
    ["POSTERN_RESULT_ROOT", "/var/lib/postern", "file:///"],
    ["POSTERN_RESULT_ROOT", "s3://bucket", "file:///"],
    ["POSTERN_DATASET_ROOTS", "/data:more", '"more"'],
    ["POSTERN_TLS_CERT_FILE", "/nowhere.crt", "/nowhere.crt"],
    ["POSTERN_LEASE_MS", "15s", "whole number"],
    ["POSTERN_LOG_LEVEL", "loud", "one of trace, debug"],
    ["POSTERN_ALLOW_PLAINTEXT", "perhaps", "1 or 0"],
  ];
  for (const [name, value, says] of refused)
    it(`refuses ${name}=${value} and says why`, () => {
      expect(() => readServerConfig({ ...minimal, [name]: value }))
        .to.throw(AppError, says)
        .with.property("message")
        .that.contains(name);
    });

  it("takes http for the keys on this machine only", () => {
    for (const url of [
      "http://127.0.0.1:8080/jwks",
      "http://[::1]/jwks",
      "http://localhost/jwks",
      "https://a.example/jwks",
    ])
      expect(readServerConfig({ ...minimal, POSTERN_JWKS_URL: url }).jwksUrl.href).to.equal(url);
  });

  it("wants certificate and key of TLS together", () => {
    const file = minimal.POSTERN_EXECUTION_KEY_FILE!;
    expect(() => readServerConfig({ ...minimal, POSTERN_TLS_CERT_FILE: file })).to.throw(
      "POSTERN_TLS_KEY_FILE is not set",
    );
    expect(() => readServerConfig({ ...minimal, POSTERN_TLS_CLIENT_CA_FILE: file })).to.throw("POSTERN_TLS_CERT_FILE");
    expect(readServerConfig({ ...minimal, POSTERN_TLS_CERT_FILE: file, POSTERN_TLS_KEY_FILE: file }).tls).to.deep.equal(
      {
        certFile: file,
        keyFile: file,
        clientCaFile: undefined,
      },
    );
  });
});
