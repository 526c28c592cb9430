// Operators that are known and never imported, each with what to do instead. A user function can stand for any of them.
import { type ImportRule, refused } from "./import-rule.js";

const never = (types: readonly string[], summary: string, sentence: string): ImportRule => ({
  types,
  uses: [],
  summary,
  differences: [],
  apply: () => refused(sentence),
});

export const REFUSED_RULES: readonly ImportRule[] = [
  never(
    [
      "URLFetcher",
      "URLVisualizer",
      "RedditSearch",
      "TwitterSearch",
      "TwitterFullArchiveSearch",
      "MySQLSource",
      "PostgreSQLSource",
      "AsterixDBSource",
    ],
    "refused: no operator reaches the network; store what it gives as a dataset and scan that",
    "It reaches the network, which no operator here may: store what it gives as a dataset, and put a scan of that in its place in Texera.",
  ),
  never(
    ["JavaUDF", "RUDF", "RUDFSource"],
    "refused: user functions are Python or JavaScript",
    "Its code is neither Python nor JavaScript: write it anew and give it with --map.",
  ),
  never(
    ["If"],
    "refused: rows do not choose which operators run",
    "It chooses an output while the workflow runs, by a state that a user function sends: put a filter or split in its place.",
  ),
  never(
    ["ArrowSource"],
    "refused: datasets are CSV, JSON or Parquet",
    "It reads an Arrow file: store it as Parquet (pyarrow reads one and writes the other), and scan that.",
  ),
  never(
    ["FileScan"],
    "refused: a dataset is a table",
    "It reads a file as lines or as one value: store it as a CSV or JSON lines file with a column for that, and scan it.",
  ),
  never(
    [
      "BulletChart",
      "CandlestickChart",
      "ContinuousErrorBands",
      "ContourPlot",
      "Dendrogram",
      "DumbbellPlot",
      "FigureFactoryTable",
      "FunnelPlot",
      "GanttChart",
      "GaugeChart",
      "HierarchyChart",
      "Histogram2D",
      "IcicleChart",
      "ImageVisualizer",
      "NestedTable",
      "NetworkGraph",
      "QuiverPlot",
      "RangeSlider",
      "SankeyDiagram",
      "Scatter3DChart",
      "ScatterMatrixChart",
      "TablesPlot",
      "TernaryPlot",
      "TreePlot",
      "VolcanoPlot",
      "WaterfallChart",
      "WordCloud",
    ],
    "refused: our chart draws nothing like it",
    "Our chart draws nothing like it: leave it out in Texera and look at what it reads, or draw it with a user function (--map).",
  ),
];
