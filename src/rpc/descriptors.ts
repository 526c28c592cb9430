// The contract as data: the descriptor set that `buf build` writes beside the generated code. It tells what each call
// demands of a token, answers reflection, and lets the CLI call a method it was not compiled with.
import { readFileSync } from "node:fs";
import { createFileRegistry, type DescMethod, type FileRegistry, fromBinary, getOption } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import {
  loadFileDescriptorSetFromBuffer,
  type MethodDefinition,
  type Options,
  type PackageDefinition,
  type ServiceDefinition,
} from "@grpc/proto-loader";
import type { Scope } from "../contract/postern/v1/options.js";

export interface Descriptors {
  /** The serialised google.protobuf.FileDescriptorSet. */
  bytes: Buffer;
  /** Every file, message, service and extension by name. */
  registry: FileRegistry;
  /** The call of a path such as `/postern.v1.CompileService/Compile`. */
  method(path: string): DescMethod | undefined;
  /** The scopes of which a call demands one; empty when it declares none. */
  anyScope(path: string): Scope[];
  /** The services as grpc-js clients take them, for calls whose types are known at run time only. */
  packageDefinition(options?: Options): PackageDefinition;
  /** One call of `packageDefinition`, by its path; refuses a path the contract does not have. */
  callDefinition(path: string): MethodDefinition<object, object>;
}

/** Beside the generated code, in the sources as in a build. */
const FILE = new URL("../contract/postern.binpb", import.meta.url);

let loaded: Descriptors | undefined;

/** The descriptors of this release; read once. */
export function descriptors(): Descriptors {
  loaded ??= parseDescriptors(read());
  return loaded;
}

function read(): Buffer {
  try {
    return readFileSync(FILE);
  } catch (cause) {
    throw new Error("The descriptor set src/contract/postern.binpb is missing: run `make generate`.", { cause });
  }
}

export function parseDescriptors(bytes: Buffer): Descriptors {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
  const scopeOption = registry.getExtension("postern.v1.any_scope");
  if (!scopeOption) throw new Error("The descriptor set knows no postern.v1.any_scope: run `make generate`.");
  const method = (path: string) => {
    const [, service = "", name] = path.split("/");
    return registry.getService(service)?.methods.find((one) => one.name === name);
  };
  return {
    bytes,
    registry,
    method,
    anyScope(path) {
      const found = method(path);
      return found ? (getOption(found, scopeOption) as Scope[]) : [];
    },
    packageDefinition: (options) => loadFileDescriptorSetFromBuffer(bytes, options),
    callDefinition(path) {
      const [, service = "", name = ""] = path.split("/");
      const found = (loadFileDescriptorSetFromBuffer(bytes)[service] as ServiceDefinition | undefined)?.[name];
      if (!found) throw new Error(`The contract has no call ${path}.`);
      return found;
    },
  };
}
