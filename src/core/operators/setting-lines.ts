// Settings as lines for people, from the JSON Schema of a type's properties: in the documentation and on a terminal.

/** What is read of a JSON Schema. */
export interface SettingSchema {
  type?: string | string[];
  description?: string;
  default?: unknown;
  const?: unknown;
  enum?: unknown[];
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  properties?: Record<string, SettingSchema>;
  additionalProperties?: SettingSchema | boolean;
  required?: string[];
  items?: SettingSchema;
  anyOf?: SettingSchema[];
}

/** One setting. */
export interface SettingLine {
  /** With the settings around it: `by[].column` is "column" of each entry of "by". */
  path: string;
  /** `text`, `whole number`, `"inner"`, `list of objects`, … */
  kind: string;
  /** As JSON; "required" when there is none and one must be given, empty when it may be left out. */
  byDefault: string;
  description: string;
}

/** The settings of an operator in their order, each followed by those within it. */
export function settingLines(schema: SettingSchema, prefix = ""): SettingLine[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, setting]) => {
    const path = `${prefix}${name}`;
    const line = {
      path,
      kind: kindOf(setting),
      byDefault: defaultOf(setting, schema.required?.includes(name) ?? false),
      description: setting.description ?? "",
    };
    return [line, ...settingLines(setting, `${path}.`), ...settingLines(setting.items ?? {}, `${path}[].`)];
  });
}

function defaultOf(setting: SettingSchema, isRequired: boolean): string {
  if (setting.default !== undefined) return JSON.stringify(setting.default);
  return isRequired ? "required" : "";
}

const KINDS: Record<string, string> = {
  string: "text",
  number: "number",
  integer: "whole number",
  boolean: "true or false",
  object: "object",
  null: "null",
};

const PLURALS: Record<string, string> = {
  text: "texts",
  number: "numbers",
  "whole number": "whole numbers",
  object: "objects",
};

function kindOf(setting: SettingSchema): string {
  if (setting.anyOf) return [...new Set(setting.anyOf.map(kindOf))].join(", or ");
  if (setting.const !== undefined) return JSON.stringify(setting.const);
  if (setting.enum) return setting.enum.map((value) => JSON.stringify(value)).join(", ");
  if (setting.type === "array") {
    const of = setting.items ? kindOf(setting.items) : "anything";
    return `list of ${PLURALS[of] ?? of}`;
  }
  const kind = [setting.type ?? "anything"]
    .flat()
    .map((type) => KINDS[type] ?? type)
    .join(", or ");
  if (setting.type === "object" && typeof setting.additionalProperties === "object")
    return `object of ${PLURALS[kindOf(setting.additionalProperties)] ?? kindOf(setting.additionalProperties)}`;
  return `${kind}${rangeOf(setting)}`;
}

/** Bounds people have set; those every whole number has say nothing. */
function rangeOf({ minimum, maximum }: SettingSchema): string {
  const least = minimum !== undefined && Math.abs(minimum) < Number.MAX_SAFE_INTEGER ? minimum : undefined;
  const most = maximum !== undefined && Math.abs(maximum) < Number.MAX_SAFE_INTEGER ? maximum : undefined;
  if (least !== undefined && most !== undefined) return `, ${least} to ${most}`;
  if (least !== undefined) return `, ${least} or more`;
  return most === undefined ? "" : `, ${most} at most`;
}
