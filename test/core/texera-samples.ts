// Operators of every type that the import knows, as Texera's editor exports them.
import { type FileOperator, operator } from "./exported-workflows.js";

const UDF = {
  code: "from pytexera import *\nclass ProcessTupleOperator(UDFOperatorV2):\n    def process_tuple(self, tuple_, port):\n        yield tuple_\n",
  workers: 1,
  retainInputColumns: true,
  outputColumns: [{ attributeName: "seen", attributeType: "boolean" }],
};

/** Settings that are complete, by operator type. */
export const SAMPLES: Record<string, object> = {
  CSVFileScan: {
    fileEncoding: "UTF_8",
    customDelimiter: ",",
    hasHeader: true,
    fileName: "/a@b.edu/shop/v1/sales.csv",
    limit: 50,
  },
  ParallelCSVFileScan: { fileEncoding: "UTF_8", customDelimiter: ";", hasHeader: false, fileName: "/a/b/v1/n.csv" },
  CSVOldFileScan: {
    fileEncoding: "UTF_16",
    customDelimiter: ",",
    hasHeader: true,
    fileName: "/a/b/v1/o.csv",
    offset: 3,
  },
  JSONLFileScan: { fileEncoding: "UTF_8", fileName: "/a/b/v1/l.jsonl", flatten: true },
  TextInput: { textInput: "a\nb\n", attributeType: "string", attributeName: "line" },
  Filter: { predicates: [{ attribute: "n", condition: ">", value: "5" }] },
  Regex: { attribute: "name", regex: "^a+", caseInsensitive: true },
  RegularExpression: { attribute: "name", regex: "b" },
  SubstringSearch: { attribute: "name", substring: "it's", isCaseSensitive: false },
  KeywordSearch: { attribute: "name", keyword: 'covid AND "new york"' },
  DictionaryMatcher: {
    Dictionary: "a,b",
    Attribute: "name",
    "result attribute": "matched",
    "Matching type": "Scan",
  },
  UnnestString: { Delimiter: ",", Attribute: "name", "Result attribute": "unnestResult" },
  Limit: { limit: 10 },
  Distinct: {},
  RandomKSampling: { "random k sample percentage": 10 },
  ReservoirSampling: { "number of item sampled in reservoir sampling": 100 },
  Split: { k: 80, random: false, seed: 7 },
  SplitDataset: { k: 50 },
  Sleep: { sleepTime: 1 },
  Projection: { isDrop: false, attributes: [{ originalAttribute: "name", alias: "who" }, { originalAttribute: "n" }] },
  TypeCasting: { typeCastingUnits: [{ attribute: "n", resultType: "double" }] },
  Aggregate: {
    aggregations: [{ attribute: "n", "result attribute": "total", aggFunction: "sum" }],
    groupByKeys: ["name"],
  },
  Sort: { attributes: [{ attribute: "n", sortPreference: "DESC" }] },
  SortPartitions: { sortAttributeName: "n", domainMin: 0, domainMax: 9 },
  HTMLVisualizer: { htmlContentAttrName: "page" },
  HashJoin: { joinType: "inner", buildAttributeName: "n", probeAttributeName: "n" },
  IntervalJoin: {
    leftAttributeName: "n",
    rightAttributeName: "m",
    constant: 10,
    includeLeftBound: true,
    includeRightBound: false,
    timeIntervalType: "day",
  },
  CartesianProduct: {},
  Union: {},
  Intersect: {},
  Difference: {},
  SymmetricDifference: {},
  PythonUDFV2: UDF,
  DualInputPortsPythonUDFV2: UDF,
  PythonUDFSourceV2: {
    code: "from pytexera import *\nclass GenerateOperator(UDFSourceOperator):\n    def produce(self):\n        yield {'n': 1}\n",
    workers: 1,
    columns: [{ attributeName: "n", attributeType: "integer" }],
  },
  PythonLambdaFunction: {
    lambdaAttributeUnits: [
      {
        attributeName: "Add New Column",
        newAttributeName: "twice",
        attributeType: "double",
        expression: "tuple_['n'] * 2",
      },
    ],
  },
  PythonTableReducer: {
    lambdaAttributeUnits: [{ attributeName: "least", attributeType: "double", expression: "table['n'].min()" }],
  },
  BarChart: { value: "n", fields: "name", categoryColumn: "No Selection", horizontalOrientation: true, pattern: "" },
  LineChart: {
    xLabel: "X Axis",
    yLabel: "",
    lines: [
      { x: "m", y: "n", mode: "line with dots", name: "", color: "red" },
      { x: "m", y: "k", mode: "dots" },
    ],
  },
  PieChart: { value: "n", name: "name" },
  Scatterplot: { xColumn: "m", yColumn: "n", alpha: 1, colorColumn: "name", xLogScale: true, hoverName: "" },
  BubbleChart: { xValue: "m", yValue: "n", zValue: "k", enableColor: true, colorCategory: "name" },
  Histogram: { value: "n", color: "name", separateBy: "", marginal: "rug", pattern: "" },
  HeatMap: { x: "name", y: "m", Values: "n" },
  BoxViolinPlot: { value: "n", "Quartile Method": "linear", horizontalOrientation: false, violinPlot: true },
  FilledAreaPlot: { x: "m", y: "n", lineGroup: "name", color: "", facetColumn: true, pattern: "" },
  TimeSeriesPlot: { timeColumn: "at", valueColumn: "n", categoryColumn: "No Selection", line: "area", slider: false },
  DotPlot: { "Count Attribute": "name" },
};

const SHAPES: Record<string, [inputs: number, outputs: number]> = {
  CSVFileScan: [0, 1],
  ParallelCSVFileScan: [0, 1],
  CSVOldFileScan: [0, 1],
  JSONLFileScan: [0, 1],
  TextInput: [0, 1],
  PythonUDFSourceV2: [0, 1],
  Split: [1, 2],
  SplitDataset: [1, 2],
  HashJoin: [2, 1],
  IntervalJoin: [2, 1],
  CartesianProduct: [2, 1],
  Intersect: [2, 1],
  Difference: [2, 1],
  SymmetricDifference: [2, 1],
  DualInputPortsPythonUDFV2: [2, 1],
};

/** An operator of a type with its sample's settings and the ports that its type has. */
export function sample(id: string, type: string, properties?: object, more: Partial<FileOperator> = {}): FileOperator {
  const [inputs, outputs] = SHAPES[type] ?? [1, 1];
  return operator(id, type, {
    operatorProperties: properties ?? SAMPLES[type] ?? {},
    inputPorts: Array.from({ length: inputs }, (_, i) => ({ portID: `input-${i}` })),
    outputPorts: Array.from({ length: outputs }, (_, i) => ({ portID: `output-${i}` })),
    ...more,
  });
}
