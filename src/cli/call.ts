// `postern call`: any method of the contract, JSON in and JSON out, found by the descriptors instead of generated code.
import { createInterface } from "node:readline";
import { type DescMessage, type DescMethod, fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { Client } from "@grpc/grpc-js";
import type { Command } from "commander";
import { Scope } from "../contract/postern/v1/options.js";
import { AppError, invalid } from "../core/app-error.js";
import { bearer, channelCredentials, openDuplex, STREAM_CHANNEL_OPTIONS, serverStream } from "../rpc/channel.js";
import type { Descriptors } from "../rpc/descriptors.js";
import { appErrorOf } from "../rpc/status.js";
import { clientStream } from "./client-stream.js";
import { type Cli, examples, optionsOf, wholeNumber } from "./command.js";
import { findConnection } from "./connection.js";
import { parseJson } from "./json-text.js";
import { printEither, printJson, printJsonLine } from "./output.js";
import { interruptSignal, type Terminal } from "./terminal.js";

interface Options {
  list?: boolean;
  deadline: number;
}

export function addCallCommand(program: Command, cli: Cli): void {
  program
    .command("call [method] [json]")
    .description("call any method: JSON in, JSON out; streams are JSON lines, read from standard input")
    .option("--list", "list every method with what it takes, gives and demands of a token")
    .option("--deadline <seconds>", "give a unary call up after this long", wholeNumber(1), 60)
    .addHelpText(
      "after",
      examples(
        "postern call --list",
        "postern call AccessService/WhoAmI",
        `postern call ExecutionService/WatchExecution '{"executionId":"…"}'`,
        "postern call ExecutionService/Attach < frames.jsonl",
      ),
    )
    .action(async (path: string | undefined, json: string | undefined, _, command: Command) => {
      const options = optionsOf<Options>(command);
      const { terminal } = cli;
      const { descriptors } = await import("../rpc/descriptors.js");
      const known = descriptors();
      if (options.list) return listMethods(known, terminal, options.json === true);
      if (path === undefined) throw invalid("No method is named: write Service/Method, or list them with --list.");
      await callMethod(known, findMethod(known, path), json, options, terminal);
    });
}

function listMethods(known: Descriptors, terminal: Terminal, json: boolean): void {
  const methods = methodsOf(known).map((method) => ({
    method: nameOf(method),
    kind: method.methodKind.replace("_", " "),
    request: method.input.name,
    reply: method.output.name,
    scopes: known.anyScope(pathOf(method)).map((scope) => Scope[scope]!.replace("SCOPE_", "").toLowerCase()),
  }));
  printEither(
    terminal,
    { json },
    () => ({ methods }),
    () => ({
      head: ["METHOD", "KIND", "REQUEST", "REPLY", "SCOPE"],
      rows: methods.map((m) => [m.method, m.kind, m.request, m.reply, m.scopes.join(" or ")]),
    }),
  );
}

const methodsOf = ({ registry }: Descriptors): DescMethod[] =>
  [...registry].flatMap((one) => (one.kind === "service" && one.typeName.startsWith("postern.") ? one.methods : []));

const nameOf = (method: DescMethod) => `${method.parent.name}/${method.name}`;
const pathOf = (method: DescMethod) => `/${method.parent.typeName}/${method.name}`;

/** Takes `Service/Method` and `postern.v1.Service/Method`, with a dot for the slash too, upper and lower case alike. */
function findMethod(known: Descriptors, text: string): DescMethod {
  const asked = text.replace(/^\//, "").toLowerCase();
  const methods = methodsOf(known);
  const found = methods.find((method) =>
    [nameOf(method), pathOf(method).slice(1), nameOf(method).replace("/", ".")].some((n) => n.toLowerCase() === asked),
  );
  if (found) return found;
  const wanted = asked.split(/[/.]/).at(-1)!;
  const alike = methods.filter(({ name }) => wanted !== "" && name.toLowerCase().includes(wanted)).map(nameOf);
  const ofService = alike.filter((name) => asked.includes(name.split("/")[0]!.toLowerCase()));
  const near = ofService.length > 0 ? ofService : alike;
  const hint = near.length > 0 ? `did you mean ${near.slice(0, 3).join(", ")}?` : "see `postern call --list`.";
  throw invalid(`There is no method ${JSON.stringify(text)}: ${hint}`);
}

async function callMethod(
  known: Descriptors,
  method: DescMethod,
  json: string | undefined,
  options: Options & Parameters<typeof findConnection>[0],
  terminal: Terminal,
): Promise<void> {
  const connection = await findConnection(options, terminal);
  const client = new Client(connection.address.address, channelCredentials(connection.address), STREAM_CHANNEL_OPTIONS);
  const { signal, release } = interruptSignal(terminal);
  // The call is proto-loader's; its JSON is not, because that drops unknown fields and rounds 64-bit integers.
  const { path } = known.callDefinition(pathOf(method));
  const encode = (message: object) => Buffer.from(toBinary(method.input, message as never));
  const decode = (bytes: Buffer) => toJson(method.output, fromBinary(method.output, bytes), { registry: undefined });
  const one = async () =>
    requestOf(method.input, json === "-" ? await readAll(terminal) : (json ?? "{}"), "the request");
  const many = () => (json === undefined || json === "-" ? linesOf(method.input, terminal) : single(one()));
  const cancelOnInterrupt = (call: { cancel(): void }) => signal.addEventListener("abort", () => call.cancel());
  try {
    const metadata = bearer(await connection.token());
    switch (method.methodKind) {
      case "unary": {
        const request = await one();
        const deadline = Date.now() + options.deadline * 1000;
        const reply = await new Promise((resolve, reject) => {
          const call = client.makeUnaryRequest(
            path,
            encode,
            decode,
            request,
            metadata,
            { deadline },
            (error, value) => {
              if (error) reject(appErrorOf(error, connection.address.address));
              else resolve(value);
            },
          );
          cancelOnInterrupt(call);
        });
        return printJson(terminal, reply);
      }
      case "server_streaming": {
        const call = client.makeServerStreamRequest(path, encode, decode, await one(), metadata);
        cancelOnInterrupt(call);
        for await (const reply of serverStream(call)) printJsonLine(terminal, reply);
        return;
      }
      case "client_streaming": {
        const reply = await clientStream(
          (withToken, done) => {
            const call = client.makeClientStreamRequest(path, encode, decode, withToken, (error, value) =>
              done(error, value ?? null),
            );
            cancelOnInterrupt(call);
            return call;
          },
          many(),
          connection,
        );
        return printJson(terminal, reply);
      }
      case "bidi_streaming": {
        const call = client.makeBidiStreamRequest(path, encode, decode, metadata);
        cancelOnInterrupt(call);
        const stream = openDuplex(call);
        let badLine: unknown;
        sendAll(stream, many()).catch((error) => {
          badLine = error;
        });
        try {
          for await (const reply of stream.incoming) printJsonLine(terminal, reply);
        } catch (error) {
          throw badLine ?? error;
        }
      }
    }
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    release();
    client.close();
    terminal.input.destroy(); // the call is over; nobody waits for more of it
  }
}

/** Sends every message, then half-closes; a bad line cancels the call, and its own error is what counts. */
async function sendAll(
  stream: { send(message: object): Promise<void>; end(): void; cancel(): void },
  messages: AsyncIterable<object>,
): Promise<void> {
  const iterator = messages[Symbol.asyncIterator]();
  for (;;) {
    const next = await iterator.next().catch((error) => {
      stream.cancel();
      throw error;
    });
    if (next.done) return stream.end();
    try {
      await stream.send(next.value);
    } catch {
      return; // the server has ended the call; its replies tell why
    }
  }
}

function requestOf(type: DescMessage, text: string, name: string): object {
  const json = parseJson(text, name);
  try {
    return fromJson(type, json as never);
  } catch (error) {
    const said = (error as Error).message.replace(/^cannot decode /, "");
    throw new AppError("invalid", "INVALID_REQUEST", `${name} is no ${type.name}: ${said}.`, { cause: error });
  }
}

async function* single(message: Promise<object>): AsyncGenerator<object> {
  yield await message;
}

async function* linesOf(type: DescMessage, { input }: Terminal): AsyncGenerator<object> {
  let number = 0;
  for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
    number++;
    if (line.trim() !== "") yield requestOf(type, line, `line ${number} of standard input`);
  }
}

async function readAll({ input }: Terminal): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of input) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString("utf8");
}
