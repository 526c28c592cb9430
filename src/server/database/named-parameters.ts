// Named parameters: `:projectId` in a statement becomes a position, and a question mark stays what it is in Postgres.

interface Statement {
  /** Positions are `?`, literal question marks `\?`: the form knex.raw takes. */
  text: string;
  names: string[];
}

// Strings, quoted names, dollar quotes and comments are passed over; `::` is a cast.
const TOKEN = /'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$[\s\S]*?\$\1\$|--[^\n]*|\/\*[\s\S]*?\*\/|::|:([A-Za-z_]\w*)|\?/g;

const parsed = new Map<string, Statement>();
const rememberedStatements = 1_000;

function parse(sql: string): Statement {
  const known = parsed.get(sql);
  if (known) return known;
  const names: string[] = [];
  const text = sql.replace(TOKEN, (token, _tag: string | undefined, name: string | undefined) => {
    if (name === undefined) return token.replaceAll("?", "\\?");
    names.push(name);
    return "?";
  });
  const statement = { text, names };
  if (parsed.size < rememberedStatements) parsed.set(sql, statement);
  return statement;
}

/** The statement with positions instead of names, and its values in order; a name without a value is refused. */
export function withPositions(
  sql: string,
  params: Record<string, unknown>,
): { text: string; values: (string | number | boolean | Date | Buffer | unknown[] | null)[] } {
  const { text, names } = parse(sql);
  return { text, values: names.map((name) => bound(name, params[name])) };
}

function bound(name: string, value: unknown) {
  if (value === undefined) throw new TypeError(`The statement's parameter :${name} has no value (use null for none).`);
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean" || value === null)
    return value;
  if (value instanceof Date || Array.isArray(value)) return value;
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return JSON.stringify(value);
}
