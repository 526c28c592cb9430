// Workflows in the form in which Texera's editor exports them, for tests.
import fc from "fast-check";

export interface FilePort {
  portID: string;
  dependencies?: (number | { id: number; internal: boolean })[];
}

export interface FileOperator {
  operatorID: string;
  operatorType: string;
  operatorProperties: object;
  inputPorts: FilePort[];
  outputPorts: FilePort[];
  isDisabled?: boolean;
  viewResult?: boolean;
  customDisplayName?: string;
}

export interface FileLink {
  linkID: string;
  source: { operatorID: string; portID: string };
  target: { operatorID: string; portID: string };
}

const PORTS: Record<string, [inputs: number, outputs: number]> = {
  CSVFileScan: [0, 1],
  HashJoin: [2, 1],
  CartesianProduct: [2, 1],
  DualInputPortsPythonUDFV2: [2, 1],
  Intersect: [2, 1],
  Split: [1, 2],
};

/** An operator with the ports its type usually has. */
export function operator(operatorID: string, operatorType: string, more: Partial<FileOperator> = {}): FileOperator {
  const [inputs, outputs] = PORTS[operatorType] ?? [1, 1];
  return {
    operatorID,
    operatorType,
    operatorProperties: {},
    inputPorts: Array.from({ length: inputs }, (_, i) => ({ portID: `input-${i}` })),
    outputPorts: Array.from({ length: outputs }, (_, i) => ({ portID: `output-${i}` })),
    ...more,
  };
}

/** A link from "operator" or "operator:port" to the same. */
export function link(from: string, to: string): FileLink {
  const end = (text: string, side: string) => {
    const [operatorID, port = "0"] = text.split(":");
    return { operatorID: operatorID!, portID: `${side}-${port}` };
  };
  return { linkID: `${from}->${to}`, source: end(from, "output"), target: end(to, "input") };
}

/** The file: operators, links, and what else an export holds. */
export const exported = (operators: FileOperator[], links: FileLink[]) => ({
  operators,
  operatorPositions: {},
  links,
  commentBoxes: [],
  settings: { dataTransferBatchSize: 400 },
});

const TYPES = [...Object.keys(PORTS), "Filter", "Sort", "Aggregate", "Union", "PythonUDFV2", "SomethingNew"];

/** A random acyclic workflow: links lead from earlier operators to later ones, also several between the same ports. */
export const anyWorkflow = fc.integer({ min: 1, max: 12 }).chain((size) =>
  fc
    .record({
      operators: fc.array(fc.record({ type: fc.constantFrom(...TYPES), viewResult: fc.boolean() }), {
        minLength: size,
        maxLength: size,
      }),
      pairs: fc.array(fc.tuple(fc.nat(size - 1), fc.nat(size - 1), fc.nat(1), fc.nat(1)), { maxLength: 20 }),
    })
    .map(({ operators, pairs }) => {
      const made = operators.map(({ type, viewResult }, i) => operator(`o${i}`, type, { viewResult }));
      const links = pairs.flatMap(([a, b, outPort, inPort], i) => {
        const [source, target] = [made[Math.min(a, b)]!, made[Math.max(a, b)]!];
        const [outs, ins] = [source.outputPorts.length, target.inputPorts.length];
        if (a === b || outs === 0 || ins === 0) return [];
        const ends = link(`${source.operatorID}:${outPort % outs}`, `${target.operatorID}:${inPort % ins}`);
        return [{ ...ends, linkID: `link-${i}` }];
      });
      return exported(made, links);
    }),
);
