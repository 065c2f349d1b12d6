// Renders the chat templates of model files with Quern and with npm's @huggingface/jinja, and
// reports where they differ. Not part of the suite, because it needs node and a package:
//   cmake --build build/release --target render_template
//   npm install --prefix FOLDER @huggingface/jinja
//   node tests/templates/compare_templates.mjs FOLDER build/release/tests/templates/render_template MODEL.gguf...
// A conversation that both refuse counts as equal; so does one whose system message Quern puts into
// the first user message because the template refuses it. Exit code 1: something differs.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, program, ...models] = process.argv.slice(2);
if (!models.length) {
  console.error("usage: compare_templates.mjs FOLDER RENDER_TEMPLATE MODEL.gguf...");
  process.exit(2);
}
const require = createRequire(join(resolve(folder), "package.json"));
const { Template } = await import(pathToFileURL(require.resolve("@huggingface/jinja")));

const system = { role: "system", content: "You grind grain.\n  Be brief. " };
const user = { role: "user", content: "  Hello, \"miller\" & <friends>!\n\nHow's the flour?  " };
const assistant = { role: "assistant", content: "Fine \u{1F33E} naïve 石臼.\n" };
const again = { role: "user", content: "{{ 1 + 1 }} {% if x %} <|im_end|>" };
const thinker = { role: "assistant", content: "<think>\nStone?\n</think>\n\nYes." };
const tools = ["weigh", "grind_it"].map((name) => ({
  type: "function",
  function: {
    name,
    description: `How to ${name}: "grain" & <bran>, naïve 石臼`,
    parameters: {
      type: "object",
      properties: {
        sacks: { type: "integer", description: "How many", default: 3 },
        weight: { type: ["number", "null"], minimum: 0.5 },
        kind: { type: "string", enum: ["rye", "wheat"] },
        options: { type: "object", properties: { fast: { type: "boolean" } } },
      },
      required: ["sacks"],
    },
  },
}));
const call = (name, args) => ({ id: "call_123456", type: "function", function: { name, arguments: args } });
const called = { role: "assistant", content: "", tool_calls: [call("weigh", { sacks: 2, weight: 1.5, kind: "rye", options: { fast: true } })] };
const calledWithText = { role: "assistant", content: "I weigh.", tool_calls: [call("grind_it", { sacks: 1 })] };
const calledTwice = { role: "assistant", content: "", tool_calls: [...called.tool_calls, ...calledWithText.tool_calls] };
const answer = (content) => ({ role: "tool", name: "weigh", tool_call_id: "call_123456", content });

const conversations = {
  "one turn": [user],
  "empty message": [{ role: "user", content: "" }],
  "system": [system, user],
  "only system": [system],
  "two turns": [user, assistant, again],
  "system, three turns": [system, user, assistant, again, thinker, user],
  "ends with the assistant": [system, user, assistant],
  "thinking in the past": [user, thinker, again],
  "two users": [user, again],
  "assistant first": [assistant, user],
  "unknown role": [user, { role: "critic", content: "No." }],
  "tool call": [system, user, called, answer("2 kg")],
  "tool call answered": [user, called, answer("{\"kg\": 2}"), assistant, again],
  "tool call with text": [system, user, calledWithText, answer("done"), assistant],
  "two tool calls": [user, calledTwice, answer("2 kg"), answer("ground"), assistant],
  "two calls in turn": [system, user, called, answer("2 kg"), calledWithText, answer("done")],
};

function* cases() {
  for (const [name, messages] of Object.entries(conversations)) {
    for (const add_generation_prompt of [true, false]) {
      for (const with_tools of [false, true]) {
        const line = { messages, add_generation_prompt, variables: { date_string: "21 Nov 2026" } };
        if (with_tools) line.tools = tools;
        yield { name: `${name}${with_tools ? ", tools" : ""}${add_generation_prompt ? ", prompt" : ""}`, line };
      }
    }
  }
}

function reference(template, special, { messages, tools, add_generation_prompt, variables }) {
  try {
    return { text: template.render({ messages, add_generation_prompt, ...(tools && { tools }), ...special, ...variables }) };
  } catch (error) {
    return { error: error.message };
  }
}

// What Quern gives a template that refuses system messages.
function withoutSystem({ messages, ...rest }) {
  const text = messages.filter((m) => m.role === "system").map((m) => m.content + "\n\n").join("");
  const others = messages.filter((m) => m.role !== "system").map((m) => ({ ...m }));
  const first = others.find((m) => m.role === "user");
  if (first) first.content = text + first.content;
  return { ...rest, messages: others };
}

function compare(model) {
  const all = [...cases()];
  const input = all.map(({ line }) => JSON.stringify(line) + "\n").join("");
  const run = spawnSync(program, [model], { input, encoding: "utf8", maxBuffer: 1 << 28 });
  if (run.status !== 0) throw new Error(`${program} ${model}: ${run.stderr}`);
  const [description, ...ours] = run.stdout.trimEnd().split("\n").map((text) => JSON.parse(text));
  const { template: source, ...special } = description;
  if (!source) return console.log(`${model}: no template`);
  const template = new Template(source);
  const refusesSystem = "error" in reference(template, special, { messages: [system, user], add_generation_prompt: true });
  const count = { equal: 0, refused: 0, different: 0 };
  all.forEach(({ name, line }, i) => {
    const wanted = reference(template, special, refusesSystem ? withoutSystem(line) : line);
    const bothRefuse = "error" in wanted && "error" in ours[i];
    const same = bothRefuse || ("text" in wanted && wanted.text === ours[i].text);
    ++count[bothRefuse ? "refused" : same ? "equal" : "different"];
    if (!same) console.log(`${model}: ${name}\n  npm:   ${JSON.stringify(wanted)}\n  quern: ${JSON.stringify(ours[i])}`);
  });
  console.log(`${model}: ${count.equal} equal, ${count.refused} refused by both, ${count.different} different`);
  return count.different;
}

let different = 0;
for (const model of models) different += compare(model) ?? 0;
process.exit(different ? 1 : 0);
