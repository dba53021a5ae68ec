"""Checks what both compose files have in the end: the names and ports that people know, and that every service
can be relied on. The arguments are the outputs of `docker-compose config` of the two."""

import re
import sys

import yaml

# Ports beyond this machine's loopback have no address in front.
PORTS = {
    "odin-ws": ["3004:3002"],
    "odin-balancer": ["3004:3002"],
    "odin-nats": ["127.0.0.1:4222:4222", "127.0.0.1:8222:8222"],
    "odin-prometheus": ["127.0.0.1:9091:9090"],
    "odin-alertmanager": ["127.0.0.1:9093:9093"],
    "odin-grafana": ["127.0.0.1:3010:3000"],
}


def port(value):
    """The short form of a port, which differs between versions of compose."""
    if isinstance(value, str):
        return value.removesuffix("/tcp")
    host = f"{value['host_ip']}:" if "host_ip" in value else ""
    return f"{host}{value['published']}:{value['target']}"


def mounts(service):
    """Where a service's files are mounted, and from."""
    found = {}
    for volume in service.get("volumes", []):
        if isinstance(volume, str):
            source, target = volume.split(":")[:2]
        else:
            source, target = volume["source"], volume["target"]
        found[target] = source
    return found


def check_service(name, service):
    container = service["container_name"]
    assert container == "odin-" + name.removeprefix("odin-"), container
    ports = [port(value) for value in service.get("ports", [])]
    assert ports == PORTS.get(container, []), f"{name}: {ports}"
    assert service["restart"] == "unless-stopped", name
    assert service["healthcheck"]["test"][0] == "CMD", name
    # A version, not a moving name.
    tag = service["image"].rsplit(":", 1)[1]
    assert re.match(r"v?\d+\.\d+\.\d+", tag), service["image"]
    assert "depends_on" not in service, f"{name} can be started alone"
    if service["image"].startswith("odin-ws:"):
        check_server(name, service)


def check_server(name, service):
    assert str(service["mem_limit"]).lower() in ("512m", "536870912"), name
    assert service["ulimits"]["nofile"] == {"soft": 65536, "hard": 65536}, name
    assert service["healthcheck"]["test"][1:] == ["/usr/local/bin/odin-ws", "healthcheck"], name
    assert service["environment"]["NATS_URL"] == "nats://nats:4222", name
    assert service["stop_grace_period"] == "45s", name
    assert "deploy" not in service, "docker-compose 1.29 passes over deploy.resources"


def check_file(path, servers, targets):
    with open(path, encoding="utf-8") as file:
        services = yaml.safe_load(file)["services"]
    for name, service in services.items():
        check_service(name, service)
    ours = [name for name, service in services.items() if service["image"].startswith("odin-ws:")]
    assert sorted(ours) == servers, ours
    prometheus = services["prometheus"]
    assert "--storage.tsdb.retention.time=15d" in prometheus["command"]
    mounted = mounts(prometheus)["/etc/prometheus/targets/odin-ws.yml"]
    assert mounted.endswith(f"/deploy/targets/{targets}"), mounted
    with open(mounted, encoding="utf-8") as file:
        listed = [target for group in yaml.safe_load(file) for target in group["targets"]]
    assert listed == [f"{name}:3002" for name in servers], listed
    grafana = services["grafana"]["environment"]
    assert grafana["GF_SECURITY_ADMIN_USER"] == "admin"
    assert grafana["GF_SECURITY_ADMIN_PASSWORD"] == "admin"


check_file(sys.argv[1], ["odin-ws"], "single.yml")
check_file(sys.argv[2], ["odin-ws-1", "odin-ws-2", "odin-ws-3"], "scale.yml")
