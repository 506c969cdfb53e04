"""Eight devices anywhere: a CPU is made into eight before JAX is used.

python examples/train_on_devices.py
"""

import jax

jax.config.update("jax_num_cpu_devices", 8)  # on a machine with GPUs, those are used instead

import numpy as np  # noqa: E402

import aidgejax as aj  # noqa: E402

training, test = aj.digits().split(0.2, seed=0)
results = {}
for name, placement in {"one device": None, "data parallel": aj.data_parallel(), "sharded": aj.sharded()}.items():
    result = aj.train(
        aj.zoo.lenet(8), training, test=test, epochs=3, batch_size=64, optimizer=aj.optim.sgd(momentum=0.9), lr=0.02,
        placement=placement,
    )  # fmt: skip
    results[name] = result.state.params
    print(f"{name}: test accuracy {result.history[-1]['test_accuracy']:.3f}; {placement or 'as always'}")

for name, params in results.items():
    furthest = max(float(np.abs(np.asarray(w) - results["one device"][k]).max()) for k, w in params.items())
    print(f"{name}: parameters at most {furthest:.1e} from those of one device")
print(results["sharded"]["fc1.weight"].sharding)
