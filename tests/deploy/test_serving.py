"""What is handed out for TF Serving says what the servers read; the proxy is run, before our own server."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from tests.conftest import ROOT
from tests.faults.processes import free_ports
from tests.serving import cpp_loader, servers
from tests.serving.server.conftest import dark, light, server, two
from tests.serving.server.process import Server
from tests.serving.server.test_rest import BYTES, GREY, b64

FOLDER = ROOT / "deploy" / "serving"
TOKEN = "0123456789abcdef" * 4
__all__ = ["dark", "light", "server", "two"]


def test_the_compose_file_exposes_nothing_but_the_proxy_on_this_machine() -> None:
    told = yaml.safe_load((FOLDER / "docker-compose.yml").read_text())
    services = told["services"]
    assert "ports" not in services["tf-serving"]
    assert {port.split(":")[0] for name in services for port in services[name].get("ports", ())} == {"127.0.0.1"}
    assert all("latest" not in service["image"] and ":" in service["image"] for service in services.values())
    assert services["tf-serving"]["read_only"]
    assert all(volume.endswith(":ro") for service in services.values() for volume in service["volumes"])
    for service in services.values():
        for volume in service["volumes"]:
            if volume.startswith("./") and "token.conf" not in volume:
                assert (FOLDER / volume.split(":")[0]).is_file(), volume


def test_configurations_are_what_tf_serving_reads(two: Path) -> None:
    scraped = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"][0]
    assert f'path: "{scraped["metrics_path"]}"' in (FOLDER / "monitoring.config").read_text()
    models = text_format.Parse((two / "models.config").read_text(), ModelServerConfig())
    (entry,) = models.model_config_list.config
    assert list(entry.model_version_policy.specific.versions) == [1, 2]
    known = {"max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"}
    batching = [line.split()[0].rstrip(":") for line in (FOLDER / "batching.config").read_text().splitlines()]
    assert set(batching) == known | {"pad_variable_length_inputs"}


def test_every_labelled_version_loads_in_cpp(two: Path) -> None:
    for number in ("1", "2"):
        assert cpp_loader.load(two / "pipe_seg" / number) == cpp_loader.OK
    assert cpp_loader.load(two / "pipe_seg") != cpp_loader.OK


def test_the_kserve_manifest_names_what_the_store_has() -> None:
    told = yaml.safe_load((FOLDER / "kserve.yaml").read_text())
    assert (told["apiVersion"], told["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    model = told["spec"]["predictor"]["model"]
    assert model["storageUri"].endswith("/pipe_seg")
    assert model["modelFormat"]["name"] == "tensorflow"


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not nginx:
        pytest.skip("nginx is not here")
    folder = tmp_path_factory.mktemp("nginx")
    (port,) = free_ports(1)
    text = (FOLDER / "nginx.conf").read_text()
    text = text.replace("tf-serving:8501", f"127.0.0.1:{server.port}")
    text = text.replace("listen 8501", f"listen 127.0.0.1:{port}")
    (folder / "nginx.conf").write_text(text.replace("/tmp/", f"{folder}/"))
    (folder / "token").write_text(f"{TOKEN}\n")
    made = subprocess.run(["sh", FOLDER / "token.sh", folder / "token"], capture_output=True, text=True, check=True)
    (folder / "token.conf").write_text(made.stdout)
    command = [nginx, "-p", folder, "-c", folder / "nginx.conf"]
    subprocess.run([*command, "-t"], capture_output=True, check=True)
    with servers.running([*command, "-g", "daemon off;"], port, folder / "nginx.log"):
        yield f"http://127.0.0.1:{port}"


def post(proxy: str, path: str, **options: Any) -> httpx.Response:
    return httpx.post(f"{proxy}{path}", json={"instances": [b64(GREY)], **BYTES}, timeout=60, **options)


def test_the_proxy_asks_for_the_token_and_passes_what_a_model_is_asked(proxy: str) -> None:
    known = {"Authorization": f"Bearer {TOKEN}", "Host": "127.0.0.1"}
    path = "/v1/models/pipe_seg/labels/stable:predict"
    assert post(proxy, path).status_code == 401
    assert post(proxy, path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert post(proxy, path, headers=known).status_code == 200
    assert httpx.get(f"{proxy}/v1/models/pipe_seg", headers=known).status_code == 200
    assert httpx.get(f"{proxy}/v1/models/pipe_seg").status_code == 401
    assert httpx.get(f"{proxy}/healthz").status_code == 200
    for other in ("/metrics", "/monitoring/prometheus/metrics", "/v1/models/other:predict", "/", "/frames"):
        assert post(proxy, other, headers=known).status_code == 404
    large = httpx.post(f"{proxy}{path}", content=b"x" * (33 << 20), headers=known, timeout=60)
    assert large.status_code == 413


def test_a_token_that_could_break_out_of_the_proxy_s_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text('x" 1; }\n')
    done = subprocess.run(["sh", FOLDER / "token.sh", tmp_path / "token"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
