// Operator types of Apache Texera that run as one layer and hand rows on as they come: their ports say everything that
// planning needs to know.
const NAMES = `
  ArrowSource AsterixDBSource CSVFileScan CSVOldFileScan FileScan JSONLFileScan MySQLSource ParallelCSVFileScan
  PostgreSQLSource PythonUDFSourceV2 RUDFSource RedditSearch TextInput TwitterFullArchiveSearch TwitterSearch URLFetcher

  DictionaryMatcher Dummy Filter KeywordSearch Limit Projection RandomKSampling Regex ReservoirSampling Scorer Sleep
  Split TypeCasting Union UnnestString

  JavaUDF PythonLambdaFunction PythonTableReducer PythonUDFV2 RUDF

  HuggingFaceIrisLogisticRegression HuggingFaceSentimentAnalysis HuggingFaceSpamSMSDetection
  HuggingFaceTextSummarization

  BarChart BoxViolinPlot BubbleChart BulletChart CandlestickChart ContinuousErrorBands ContourPlot Dendrogram DotPlot
  DumbbellPlot FigureFactoryTable FilledAreaPlot FunnelPlot GanttChart GaugeChart HTMLVisualizer HeatMap HierarchyChart
  Histogram Histogram2D IcicleChart ImageVisualizer LineChart NestedTable NetworkGraph PieChart QuiverPlot RangeSlider
  SankeyDiagram Scatter3DChart ScatterMatrixChart Scatterplot TablesPlot TernaryPlot TimeSeriesPlot TreePlot
  URLVisualizer VolcanoPlot WaterfallChart WordCloud`;

const STREAMING: ReadonlySet<string> = new Set(NAMES.trim().split(/\s+/));

export const isStreamingType = (type: string): boolean => STREAMING.has(type);
