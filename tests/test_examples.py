import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_cluster_of_the_launcher_fits_rays_schema_and_starts_the_version_that_is_installed():
    ray = pytest.importorskip("ray", reason="needs the extra cluster")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    described = yaml.safe_load((EXAMPLES / "cluster.yaml").read_text())
    jsonschema.validate(described, schema)
    with pytest.raises(jsonschema.ValidationError):  # the schema refuses what it does not know
        jsonschema.validate(described | {"workers": 3}, schema)
    text = (EXAMPLES / "cluster.yaml").read_text() + (EXAMPLES / "README.md").read_text()
    options = set(re.findall(r"search\.py((?: --\w+ [\w/.]+)+)", text))
    assert options
    known = subprocess.run(
        [sys.executable, EXAMPLES / "search.py", "--help"], capture_output=True, text=True, check=True
    )
    for line in options:
        assert all(option in known.stdout for option in line.split()[::2]), line


@pytest.mark.slow
def test_the_search_runs_as_it_stands_and_goes_on_where_it_ended(tmp_path):
    pytest.importorskip("ray", reason="needs the extra cluster")
    small = ["--shards=1", "--replicas=2", "--children=2", "--epochs=1"]
    for updates in (2, 3):
        command = [sys.executable, EXAMPLES / "search.py", f"--updates={updates}", *small]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        assert re.search(rf"^best of {4 if updates == 2 else 2} children: \(.*\), reward 0\.\d+$", done.stdout, re.M)
