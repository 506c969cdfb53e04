"""A JAX user's own training loop around a graph: `as_jax` makes a function of it, whose gradient is the graph's.

python examples/train_in_jax.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import aidgejax as aj

data = aj.digits()
x, target = jnp.asarray(data.columns["x"].reshape(-1, 64)), jnp.asarray(data.columns["target"], jnp.int32)

net = aj.as_jax(aj.make_program(aj.zoo.mlp(sizes=(64, 64, 10))))


def loss(params, x, target):
    outputs, _ = net(params, {}, {"x": x})  # {} are the buffers: this network has none
    return -jnp.mean(jax.nn.log_softmax(outputs["logits"])[jnp.arange(len(target)), target])


@jax.jit
def step(params, x, target):
    value, grads = jax.value_and_grad(loss)(params, x, target)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), value


params = {k: jnp.asarray(v) for k, v in aj.zoo.mlp(sizes=(64, 64, 10)).params.items()}
rng = np.random.default_rng(0)
for k in range(401):
    rows = rng.integers(0, len(data), 64)
    params, value = step(params, x[rows], target[rows])
    if k % 100 == 0:
        print(f"step {k:3}  loss {value:.4f}")

per_row = jax.vmap(jax.grad(loss), (None, 0, 0))(params, x[:5, None], target[:5, None])
norms = jax.vmap(aj.optim.global_norm)(per_row)
print("gradient norms of single rows:", np.round(norms, 4))
