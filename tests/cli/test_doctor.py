from aidgejax import __version__
from aidgejax.__main__ import main


def test_doctor_names_versions_and_devices_and_trains(capsys):
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert f"aidgejax       {__version__}" in shown and "devices: cpu" in shown and "self-test: passed" in shown


def test_doctor_without_the_test(capsys):
    assert main(["doctor", "--no-test"]) == 0
    assert "self-test" not in capsys.readouterr().out
