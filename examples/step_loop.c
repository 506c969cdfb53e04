/* Train with a step file and onnxruntime's C API alone.

   python -m aidgejax step model.onnx --loss cross_entropy --optimizer sgd --batch 32 --out step.onnx
   cc -O2 step_loop.c -I<onnxruntime>/include -L<onnxruntime>/lib -lonnxruntime -o step_loop
   ./step_loop step.onnx step.bin data.bin 200 0.05 trained.bin

   step.bin:  the initial state, as write_step writes it: tensor after tensor, in the order of the inputs.
   data.bin:  batch after batch, each the file's data inputs one after another; read from the start again at its end.
   trained.bin: the state after the last step, in the same order.

   An input `p` with an output `p.next` is state.  The inputs "learning_rate" and "seed" are numbers; others are data.
   Outputs are new values of onnxruntime's, which become the next inputs: never the input's own memory. */
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 4096
static const OrtApi *api;

static void check(OrtStatus *status) {
    if (status) {
        fprintf(stderr, "%s\n", api->GetErrorMessage(status));
        exit(1);
    }
}

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static size_t bytes_of(ONNXTensorElementDataType type) {
    switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: return 8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: return 4;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16: return 2;
    default: return 1;
    }
}

/* CRC-32, as zlib has it. */
static unsigned checksum(unsigned c, const void *data, size_t bytes) {
    const unsigned char *at = data;
    for (c = ~c; bytes--; at++) {
        c ^= *at;
        for (int k = 0; k < 8; k++) c = (c >> 1) ^ (c & 1 ? 0xedb88320u : 0);
    }
    return ~c;
}

/* What the file says of its initial state: "crc32": N, in the JSON of its metadata. */
static unsigned crc32_of(OrtSession *session, OrtAllocator *allocator) {
    OrtModelMetadata *metadata;
    char *json = NULL;
    check(api->SessionGetModelMetadata(session, &metadata));
    check(api->ModelMetadataLookupCustomMetadataMap(metadata, allocator, "aidgejax.step", &json));
    const char *found = json ? strstr(json, "\"crc32\": ") : NULL;
    if (!found) fail("no training step that write_step wrote");
    unsigned value = (unsigned)strtoul(found + 9, NULL, 10);
    check(api->AllocatorFree(allocator, json));
    api->ReleaseModelMetadata(metadata);
    return value;
}

typedef struct {
    char *name;
    int64_t dims[16];
    size_t rank, bytes;
    ONNXTensorElementDataType type;
    int output; /* which output replaces it; -1: it is no state */
    OrtValue *value;
} Input;

static OrtValue *tensor(OrtAllocator *allocator, Input *in, void **data) {
    OrtValue *value;
    check(api->CreateTensorAsOrtValue(allocator, in->dims, in->rank, in->type, &value));
    check(api->GetTensorMutableData(value, data));
    return value;
}

static void read_all(void *to, size_t bytes, FILE *file, int again) {
    if (fread(to, 1, bytes, file) == bytes) return;
    if (!again || fseek(file, 0, SEEK_SET) || fread(to, 1, bytes, file) != bytes) fail("a file is too short");
}

int main(int argc, char **argv) {
    if (argc != 7) fail("step_loop step.onnx step.bin data.bin STEPS RATE trained.bin");
    api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    OrtEnv *env;
    OrtSessionOptions *options;
    OrtSession *session;
    OrtAllocator *allocator;
    check(api->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "step", &env));
    check(api->CreateSessionOptions(&options));
    check(api->CreateSession(env, argv[1], options, &session));
    check(api->GetAllocatorWithDefaultOptions(&allocator));

    size_t n_in, n_out;
    check(api->SessionGetInputCount(session, &n_in));
    check(api->SessionGetOutputCount(session, &n_out));
    if (n_in > MOST || n_out > MOST) fail("too many tensors");
    static char *outputs[MOST];
    static Input inputs[MOST];
    for (size_t k = 0; k < n_out; k++) check(api->SessionGetOutputName(session, k, allocator, &outputs[k]));
    FILE *state = fopen(argv[2], "rb"), *data = fopen(argv[3], "rb");
    if (!state || !data) fail("cannot open step.bin or data.bin");
    unsigned sum = 0;
    for (size_t k = 0; k < n_in; k++) {
        Input *in = &inputs[k];
        OrtTypeInfo *info;
        const OrtTensorTypeAndShapeInfo *shape;
        check(api->SessionGetInputName(session, k, allocator, &in->name));
        check(api->SessionGetInputTypeInfo(session, k, &info));
        check(api->CastTypeInfoToTensorInfo(info, &shape));
        check(api->GetTensorElementType(shape, &in->type));
        check(api->GetDimensionsCount(shape, &in->rank));
        if (in->rank > 16) fail("too many axes");
        check(api->GetDimensions(shape, in->dims, in->rank));
        api->ReleaseTypeInfo(info);
        in->bytes = bytes_of(in->type);
        for (size_t d = 0; d < in->rank; d++) {
            if (in->dims[d] < 0) fail("give the step a number with --batch: this loop takes no symbolic size");
            in->bytes *= (size_t)in->dims[d];
        }
        in->output = -1;
        for (size_t o = 0; o < n_out; o++) {
            size_t length = strlen(in->name);
            if (!strncmp(outputs[o], in->name, length) && !strcmp(outputs[o] + length, ".next")) in->output = (int)o;
        }
        void *memory;
        in->value = tensor(allocator, in, &memory);
        if (in->output >= 0) {
            read_all(memory, in->bytes, state, 0);
            sum = checksum(sum, memory, in->bytes);
        } else if (!strcmp(in->name, "learning_rate")) *(float *)memory = (float)atof(argv[5]);
        else memset(memory, 0, in->bytes);
    }

    if (fgetc(state) != EOF) fail("step.bin is longer than the state: it is not of this step.onnx");
    if (sum != crc32_of(session, allocator)) fprintf(stderr, "step.bin is not the first state: going on from it\n");

    static const char *in_names[MOST];
    static const OrtValue *in_values[MOST];
    static OrtValue *out_values[MOST];
    int steps = atoi(argv[4]);
    for (int step = 0; step < steps; step++) {
        for (size_t k = 0; k < n_in; k++) {
            Input *in = &inputs[k];
            if (in->output < 0 && strcmp(in->name, "learning_rate") && strcmp(in->name, "seed")) {
                void *memory;
                check(api->GetTensorMutableData(in->value, &memory));
                read_all(memory, in->bytes, data, 1);
            }
            in_names[k] = in->name;
            in_values[k] = in->value;
        }
        for (size_t o = 0; o < n_out; o++) out_values[o] = NULL;
        check(api->Run(session, NULL, in_names, in_values, n_in, (const char *const *)outputs, n_out, out_values));
        float *loss;
        check(api->GetTensorMutableData(out_values[0], (void **)&loss)); /* the loss is the first output */
        if (step % 20 == 0 || step == steps - 1) printf("step %d  loss %.6f\n", step, *loss);
        for (size_t k = 0; k < n_in; k++)
            if (inputs[k].output >= 0) {
                api->ReleaseValue(inputs[k].value);
                inputs[k].value = out_values[inputs[k].output];
                out_values[inputs[k].output] = NULL;
            }
        for (size_t o = 0; o < n_out; o++)
            if (out_values[o]) api->ReleaseValue(out_values[o]);
    }
    FILE *trained = fopen(argv[6], "wb");
    if (!trained) fail("cannot write the trained state");
    for (size_t k = 0; k < n_in; k++)
        if (inputs[k].output >= 0) {
            void *memory;
            check(api->GetTensorMutableData(inputs[k].value, &memory));
            if (fwrite(memory, 1, inputs[k].bytes, trained) != inputs[k].bytes) fail("cannot write the trained state");
        }
    return fclose(trained) ? 1 : 0;
}
