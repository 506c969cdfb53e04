// A training step in onnxruntime-web, in a page or in node: state goes in and comes out.
//
//     const loop = await StepLoop.open(ort, modelBytes, stateBytes);
//     const loss = await loop.run({ x: images, target: labels }, { learning_rate: 0.05 });

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, int32: Int32Array, int64: BigInt64Array, bool: Uint8Array,
  float16: Uint16Array,
};

const count = (shape) => shape.reduce((a, b) => a * b, 1);

export class StepLoop {
  // modelBytes, stateBytes: the contents of step.onnx and step.bin; known: the JSON under aidgejax.step.
  static async open(ort, modelBytes, stateBytes, options = {}) {
    const session = await ort.InferenceSession.create(modelBytes, options);
    return new StepLoop(ort, session, metadata(modelBytes), stateBytes);
  }

  // initial: whether stateBytes are those that the step was written with, or a state that was saved later.
  constructor(ort, session, known, stateBytes) {
    const { bytes, crc32 } = known.initial;
    if (stateBytes.length !== bytes) throw new Error(`the state has ${stateBytes.length} bytes, and the step's ${bytes}: step.bin is not of this step.onnx`);
    Object.assign(this, { ort, session, known, initial: checksum(stateBytes) === crc32 });
    this.state = {};
    for (const s of known.state) {
      const bytes = stateBytes.slice(s.offset, s.offset + s.bytes);
      this.state[s.input] = new ort.Tensor(s.dtype, new ARRAYS[s.dtype](bytes.buffer ?? bytes), s.shape);
    }
  }

  // batch: { input: array of numbers }; scalars: { learning_rate, seed }.  Returns the loss.
  async run(batch, scalars = {}) {
    const feeds = { ...this.state };
    const rows = Object.values(batch)[0].rows;
    for (const b of this.known.batch) {
      const shape = b.shape.map((d) => (typeof d === "number" ? d : rows));
      const given = batch[b.name].data ?? batch[b.name];
      feeds[b.name] = new this.ort.Tensor(b.dtype, filled(b.dtype, given, count(shape)), shape);
    }
    for (const s of this.known.scalars) feeds[s.name] = new this.ort.Tensor(s.dtype, filled(s.dtype, [scalars[s.name] ?? 0], 1), []);
    const found = await this.session.run(feeds);
    for (const s of this.known.state) this.state[s.input] = found[s.output];
    return Number(found[this.known.loss].data[0]);
  }

  // The tensors of the trained model: parameters, and buffers that moved.
  trained() {
    return Object.fromEntries([...this.known.parameters, ...this.known.buffers].map((n) => [n, this.state[n]]));
  }

  // The state as the bytes of a step.bin.
  bytes() {
    const all = new Uint8Array(this.known.state.reduce((n, s) => n + s.bytes, 0));
    for (const s of this.known.state) {
      const data = this.state[s.input].data;
      all.set(new Uint8Array(data.buffer, data.byteOffset, s.bytes), s.offset);
    }
    return all;
  }
}

// CRC-32, as zlib has it.
function checksum(bytes) {
  let c = 0xffffffff;
  for (const byte of bytes) {
    c ^= byte;
    for (let k = 0; k < 8; k++) c = (c >>> 1) ^ (c & 1 ? 0xedb88320 : 0);
  }
  return (c ^ 0xffffffff) >>> 0;
}

function filled(dtype, values, size) {
  const array = new ARRAYS[dtype](size);
  for (let k = 0; k < size; k++) array[k] = dtype === "int64" ? BigInt(Math.round(Number(values[k]))) : values[k];
  return array;
}

// The JSON that write_step puts into the model's metadata, without a protobuf library: ModelProto.metadata_props is
// field 14, with a key (field 1) and a value (field 2).
export function metadata(modelBytes, wanted = "aidgejax.step") {
  const bytes = new Uint8Array(modelBytes), text = new TextDecoder();
  let found;
  fields(bytes, 0, bytes.length, (field, from, to) => {
    if (field !== 14) return;
    const pair = {};
    fields(bytes, from, to, (f, a, b) => { pair[f] = text.decode(bytes.subarray(a, b)); });
    if (pair[1] === wanted) found = JSON.parse(pair[2]);
  });
  if (!found) throw new Error(`the model has no metadata ${wanted}: was it written by write_step?`);
  return found;
}

// The model (an ONNX file whose initializers are named as the parameters) with the trained values in their places.
// ModelProto.graph is field 7, GraphProto.initializer 5, TensorProto.name 8, TensorProto.raw_data 9.
export function trainedModel(modelBytes, state) {
  const bytes = new Uint8Array(modelBytes).slice(), text = new TextDecoder(), missing = new Set(Object.keys(state));
  fields(bytes, 0, bytes.length, (field, from, to) => {
    if (field !== 7) return;
    fields(bytes, from, to, (f, a, b) => {
      if (f !== 5) return;
      let name, raw;
      fields(bytes, a, b, (g, c, d) => {
        if (g === 8) name = text.decode(bytes.subarray(c, d));
        if (g === 9) raw = [c, d];
      });
      const data = state[name]?.data;
      if (!data || !raw || raw[1] - raw[0] !== data.byteLength) return;
      bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), raw[0]);
      missing.delete(name);
    });
  });
  if (missing.size) throw new Error(`the model has no initializer of this size: ${[...missing].join(", ")}`);
  return bytes;
}

// visit(number, from, to) of each field of a protobuf message that has a length.
function fields(bytes, at, end, visit) {
  const varint = () => {
    let value = 0, shift = 1, byte;
    do { byte = bytes[at++]; value += (byte & 127) * shift; shift *= 128; } while (byte & 128);
    return value;
  };
  while (at < end) {
    const tag = varint(), kind = tag & 7;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else { const size = varint(); visit(Math.floor(tag / 8), at, at + size); at += size; }
  }
}
