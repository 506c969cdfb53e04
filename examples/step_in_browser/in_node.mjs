// The same loop in node: node in_node.mjs step.onnx step.bin batches.json > losses.json
// batches.json: [{ input: flat list of numbers }, ...]; every batch is one step at learning rate 0.05.
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { StepLoop } from "./step.mjs";

ort.env.wasm.numThreads = 1;
const [model, state, batches] = process.argv.slice(2);
const loop = await StepLoop.open(ort, new Uint8Array(readFileSync(model)), new Uint8Array(readFileSync(state)));
const losses = [];
for (const batch of JSON.parse(readFileSync(batches, "utf8"))) losses.push(await loop.run(batch, { learning_rate: 0.05 }));
console.log(JSON.stringify(losses));
