// gRPC reflection, v1 and v1alpha, out of the descriptor set. (@grpc/reflection answers with empty dependency lists.)
import { type DescExtension, type DescFile, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { status } from "@grpc/grpc-js";
import type {
  ServerReflectionRequest,
  ServerReflectionResponse,
  ServerReflectionServer,
} from "../../contract/grpc/reflection/v1/reflection.js";
import type { Descriptors } from "../../rpc/descriptors.js";
import type { ServiceMethods } from "../../rpc/handlers.js";

interface Deps {
  descriptors: Descriptors;
  /** Fully qualified names of the services this server has. */
  services: readonly string[];
}

/** Both versions of the protocol have the same messages. */
export function reflectionService({ descriptors, services }: Deps): ServiceMethods<ServerReflectionServer, unknown> {
  const { registry } = descriptors;
  const answer = (request: ServerReflectionRequest): ServerReflectionResponse["messageResponse"] => {
    const asked = request.messageRequest;
    switch (asked?.$case) {
      case "listServices":
        return { $case: "listServicesResponse", value: { service: services.map((name) => ({ name })) } };
      case "fileByFilename":
        return files(registry.getFile(asked.value.replace(/\.proto$/, "")) ?? registry.getFile(asked.value));
      case "fileContainingSymbol":
        return files(fileOf(descriptors, asked.value.replace(/^\./, "")));
      case "fileContainingExtension": {
        const { containingType, extensionNumber } = asked.value;
        return files(extensionsOf(descriptors, containingType).find((one) => one.number === extensionNumber)?.file);
      }
      case "allExtensionNumbersOfType": {
        if (!registry.getMessage(asked.value)) return notFound;
        const extensionNumber = extensionsOf(descriptors, asked.value).map((one) => one.number);
        return { $case: "allExtensionNumbersResponse", value: { baseTypeName: asked.value, extensionNumber } };
      }
      case undefined:
        return failure(status.INVALID_ARGUMENT, "The request asks for nothing this server knows.");
    }
  };
  return {
    async serverReflectionInfo({ incoming, send }) {
      for await (const request of incoming)
        await send({ validHost: request.host, originalRequest: request, messageResponse: answer(request) });
    },
  };
}

const failure = (errorCode: status, errorMessage: string): ServerReflectionResponse["messageResponse"] => ({
  $case: "errorResponse",
  value: { errorCode, errorMessage },
});

const notFound = failure(status.NOT_FOUND, "This server knows nothing of that name.");

/** A file and all it depends on, each once. */
function files(file: DescFile | undefined): ServerReflectionResponse["messageResponse"] {
  if (!file) return notFound;
  const found = new Set<DescFile>();
  const add = (one: DescFile) => {
    if (found.has(one)) return;
    found.add(one);
    one.dependencies.forEach(add);
  };
  add(file);
  const fileDescriptorProto = [...found].map((one) => Buffer.from(toBinary(FileDescriptorProtoSchema, one.proto)));
  return { $case: "fileDescriptorResponse", value: { fileDescriptorProto } };
}

/** The file that declares a symbol: a type, a service, or a member of one. */
function fileOf({ registry }: Descriptors, symbol: string): DescFile | undefined {
  const type = registry.get(symbol);
  if (type) return type.file;
  const dot = symbol.lastIndexOf(".");
  const owner = dot > 0 ? registry.get(symbol.slice(0, dot)) : undefined;
  const member = symbol.slice(dot + 1);
  switch (owner?.kind) {
    case "service":
      return owner.methods.some((one) => one.name === member) ? owner.file : undefined;
    case "message":
      return owner.members.some((one) => one.name === member) ? owner.file : undefined;
    case "enum":
      return owner.values.some((one) => one.name === member) ? owner.file : undefined;
    default:
      return undefined;
  }
}

function extensionsOf({ registry }: Descriptors, message: string): DescExtension[] {
  return [...registry].filter((one) => one.kind === "extension").filter((one) => one.extendee.typeName === message);
}
