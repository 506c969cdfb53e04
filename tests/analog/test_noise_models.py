"""Converters and noise models against aihwkit's numbers: curves, given draws, statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax.analog import conductance, noise_pcm, noise_reram

from ..golden.aihwkit import sampled, table

MODELS = {**vars(noise_pcm), **vars(noise_reram)}
CONVERTERS = vars(conductance)


def converter_of(config):
    arguments = {k: v for k, v in config.items() if k != "converter"}
    return CONVERTERS[config["converter"] + "ConductanceConverter"](**arguments)


def model_of(config):
    arguments = {k: v for k, v in config.items() if k != "model"}
    if isinstance(arguments.get("g_converter"), list):
        kind, how = arguments["g_converter"]
        arguments["g_converter"] = converter_of({"converter": kind.replace("ConductanceConverter", ""), **how})
    return MODELS[config["model"]](**arguments)


@pytest.mark.parametrize("case", sampled("converters", 4))
def test_converters(case):
    converter, i, e = converter_of(case["config"]), case["inputs"], case["expected"]
    g, params = converter.convert_to_conductances(jnp.asarray(i["w"]))
    stacked = np.stack(g) if isinstance(g, list) else np.asarray(g)
    np.testing.assert_allclose(stacked.reshape(e["conductances"].shape), e["conductances"], rtol=5e-5, atol=5e-5)
    np.testing.assert_allclose(converter.convert_back_to_weights(g, params), e["w_back"], rtol=5e-5, atol=5e-5)
    shifted = [x + s for x, s in zip(g, i["shift"], strict=True)] if isinstance(g, list) else g + i["shift"]
    back = converter.convert_back_to_weights(shifted, params)
    np.testing.assert_allclose(back, e["w_back_shifted"], rtol=5e-5, atol=5e-5)
    assert converter.scale_ratio is None and converter == converter_of(case["config"])


@pytest.mark.parametrize("case", sampled("noise_curves", 3))
def test_curves(case):
    i, e = case["inputs"], case["expected"]
    with jax.enable_x64(True):
        model, g = model_of(case["config"]), jnp.asarray(i["g"])
        np.testing.assert_allclose(model.sigma_programming(g), e["sigma_prog"], rtol=1e-6, atol=1e-9)
        if "nu_mean" not in e:
            return
        mean, spread = (np.asarray(v) for v in model.drift_statistics(g))
        scale = getattr(model, "drift_scale", 1)
        np.testing.assert_allclose(np.abs(mean) * scale, np.abs(e["nu_mean"]), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(spread * scale, e["nu_std"], rtol=1e-6, atol=1e-9)
        for k, t in enumerate(i["times"]):
            nu = jnp.asarray(e["nu_mean"])
            still, moved = (model.drifted(g, nu, t, jnp.full((1, *g.shape), z)) for z in (0.0, 1.0))
            np.testing.assert_allclose(still, e["drifted"][k], rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(moved - still, e["sigma_read"][k], rtol=1e-5, atol=1e-8)


def given(z, shape, kinds):
    """The draws one after the other; for a single device the original drew row by row, `kinds` of them for each."""
    z = z.reshape(-1, *shape[-2:]) if z.size % np.prod(shape[-2:]) == 0 and z.shape[1:] == shape[-2:] else z
    z = z if z.shape[1:] == shape[-2:] else z.reshape(shape[-2], kinds, shape[-1]).swapaxes(0, 1)
    at = iter(z)

    def draw(wanted, dtype):
        rows = [next(at) for _ in range(int(np.prod(wanted[:-2])))]
        return jnp.asarray(np.stack(rows)).reshape(wanted)

    return draw


@pytest.mark.parametrize("case", sampled("noise_injected", 4))
def test_given_draws(case):
    """Whole weights, with the normal draws that aihwkit had."""
    model, i, e = model_of(case["config"]), case["inputs"], case["expected"]
    w = jnp.asarray(i["w"])
    programmed, nus = model.program_weights(w, given(i["z_prog"], w.shape, 1 + model.draws_coefficients))
    np.testing.assert_allclose(programmed, e["w_prog"], rtol=1e-4, atol=1e-4)
    for k, t in enumerate(i["times"]):
        if f"z_drift_{k}" in i:
            draw = given(i[f"z_drift_{k}"], w.shape, model.normals_of_drift)
            drifted = model.drift_weights(programmed, nus, t, draw)
            np.testing.assert_allclose(drifted, e[f"w_drift_{k}"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", table("beside_noise")["cases"], ids=lambda c: c["name"])
def test_given_draws_of_models_with_numbers_of_their_own(case):
    case["config"] |= {"coeff_dict": {float(k): v for k, v in case["config"].get("coeff_dict", {}).items()} or None}
    if case["config"]["model"] == "HermesNoiseModel":
        del case["config"]["coeff_dict"]
    model, i, e = model_of(case["config"]), case["inputs"], case["expected"]
    w, z = jnp.asarray(i["w"]), {k: np.array(v, np.float32) for k, v in i.items() if k.startswith("z_")}
    programmed, nus = model.program_weights(w, given(z["z_prog"], w.shape, 1 + model.draws_coefficients))
    np.testing.assert_allclose(programmed, e["w_prog"], rtol=1e-4, atol=1e-4)
    for k, t in enumerate(i["times"]):
        drifted = model.drift_weights(programmed, nus, t, given(z[f"z_drift_{k}"], w.shape, model.normals_of_drift))
        np.testing.assert_allclose(drifted, e[f"w_drift_{k}"], rtol=1e-4, atol=1e-4)


def test_a_dictionary_that_lacks_a_number_is_named():
    g = jnp.array([[9.0, 20.0]])
    np.testing.assert_array_equal(noise_reram.ReRamCMONoiseModel().generate_drift_coefficients(g), g)
    with pytest.raises(noise_reram.NoiseModelError, match=r"read_dict has \['K'\]: t_read is missing"):
        noise_reram.ReRamCMONoiseModel(read_dict={"K": 0.1})


@pytest.mark.parametrize("case", [c for c in sampled("noise_stats", 3) if "g" in c.values[0]["inputs"]])
def test_statistics(case):
    model, i, e = model_of(case["config"]), case["inputs"], case["expected"]
    n = 4000
    g = jnp.broadcast_to(jnp.asarray(i["g"]), (n, len(i["g"])))
    keys = jax.random.split(jax.random.key(len(case["name"])), 2 + len(i["times"]))
    found = {"prog": model.apply_programming_noise_to_conductance(g, keys[0])}
    nu = model.generate_drift_coefficients(g, keys[1])
    for k, t in enumerate(i["times"]):
        found[f"drift_{k}"] = model.apply_drift_noise_to_conductance(found["prog"], nu, t, keys[2 + k])
    for name, x in found.items():
        x = np.asarray(x, np.float64)
        for kind, mine, error in [
            ("mean", x.mean(0), x.std(0, ddof=1) / n**0.5),
            ("std", x.std(0, ddof=1), x.std(0, ddof=1) * 1.5 / (2 * n) ** 0.5),
        ]:
            z = (mine - e[f"{name}_{kind}"]) / np.sqrt(e[f"{name}_se_{kind}"] ** 2 + error**2 + 1e-12)
            assert np.abs(z).max() < 5, (name, kind)
