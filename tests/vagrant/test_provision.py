"""The machines' scripts: order, a second run, wrong input, and what they do not let pass."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.vagrant import stubs
from tests.vagrant.stubs import Machine

pytestmark = pytest.mark.netns
ADDRESS = "192.168.56.11"
TOKEN = "abcdef.0123456789abcdef"  # noqa: S105  no cluster has it
# a cluster, as far as demo.sh can tell: a file each for what is there
CLUSTER = """\
there=$MACHINE/there
mkdir -p "$there"
case "$*" in
"get node "*) [[ -e $there/$3 ]] || { touch "$there/$3"; exit 1; } ;;  # it joins while it is waited for
"get deployment "* | "get service "*) [[ -e $there/$2 ]] || exit 1 ;;
"create deployment "*) touch "$there/deployment" ;;
"expose deployment "*) touch "$there/service" ;;
"apply -f -") cat >"$there/policy" ;;
"delete networkpolicy "*) rm -f "$there/policy" ;;
"run other "*) [[ ! -e $there/policy ]] || { echo "$DENIED"; exit "$STATUS"; } ;;
esac
exit 0
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return stubs.machine(tmp_path)


def test_every_script_passes_shellcheck() -> None:
    scripts = sorted((stubs.CHECKOUT / "vagrant").rglob("*.sh"))
    assert set(stubs.SCRIPTS) < set(scripts)
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize(
    "script",
    [pytest.param(path.stem, id=path.name) for path in stubs.SCRIPTS if path.stem != "demo"],  # which takes any number
)
def test_more_arguments_than_it_takes_are_a_usage_line_and_nothing_else(machine: Machine, script: str) -> None:
    done = machine.run(script, *"abcd")
    assert (done.returncode, done.stderr.startswith(f"usage: {script}.sh")) == (2, True)
    assert machine.asked() == []


@pytest.mark.parametrize(("script", "arguments"), [("box", []), ("libvirt", ["folder"])])
def test_a_script_of_the_hosts_needs_its_arguments(machine: Machine, script: str, arguments: list[str]) -> None:
    path = stubs.CHECKOUT / f"vagrant/host/{script}.sh"
    done = subprocess.run([path, *arguments], cwd=machine.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith(f"usage: {script}.sh")) == (2, True)


def test_packages_are_of_the_pinned_version_and_containerd_has_the_agents_plugins(machine: Machine) -> None:
    assert machine.run("packages").returncode == 0
    asked, etc = machine.asked(), machine.etc()
    assert [line.split()[0] for line in asked] == [
        *("kubeadm", "apt-get", "apt-get", "curl", "apt-get", "apt-get", "apt-mark", "systemctl"),
    ]
    assert "kubelet=1.36.3-* kubeadm=1.36.3-* kubectl=1.36.3-*" in asked[5]
    assert "https://pkgs.k8s.io/core:/stable:/v1.36/deb/ /" in etc["apt/sources.list.d/kubernetes.list"]
    assert 'bin_dir = "/opt/cni/bin"' in etc["containerd/config.toml"]

    assert machine.run("packages").returncode == 0
    assert (machine.asked(), machine.etc()) == (asked, etc)


def test_a_box_that_has_kubernetes_is_asked_for_no_package(machine: Machine) -> None:
    machine.answer("kubeadm", "echo v1.36.3")
    assert machine.run("packages").returncode == 0
    assert machine.asked() == ["kubeadm version -o short", "systemctl restart containerd"]
    assert "containerd/config.toml" in machine.etc()


def test_another_version_than_the_pinned_one_is_replaced(machine: Machine) -> None:
    machine.answer("kubeadm", "echo v1.36.30")
    assert machine.run("packages").returncode == 0
    assert [line for line in machine.asked() if "kubeadm=1.36.3-*" in line]


def test_a_machine_without_packages_stays_without_configuration(machine: Machine) -> None:
    machine.answer("curl", "exit 22")
    assert machine.run("packages").returncode == 22
    assert "containerd/config.toml" not in machine.etc()


def test_a_machine_has_no_swap_and_forwards_under_its_address(machine: Machine) -> None:
    machine.answer("ip", f"echo 'eth1 UP {ADDRESS}/24'; sleep 0.2; echo 'eth2 UP 192.0.2.9/24'")
    assert machine.run("node", ADDRESS).returncode == 0
    etc = machine.etc()
    assert etc["fstab"] == "UUID=1 / ext4 defaults 0 1\n#UUID=2 none swap sw 0 0\n"
    assert etc["sysctl.d/90-kubernetes.conf"] == "net.ipv4.ip_forward = 1\n"
    assert etc["default/kubelet"] == f"KUBELET_EXTRA_ARGS=--node-ip={ADDRESS}\n"
    assert "swapoff -a" in machine.asked()

    assert machine.run("node", ADDRESS).returncode == 0
    assert machine.etc() == etc


def test_an_address_that_the_machine_has_not_is_refused(machine: Machine) -> None:
    machine.answer("ip", f"echo 'eth1 UP {ADDRESS}1/24'")
    done = machine.run("node", ADDRESS)
    assert (done.returncode, ADDRESS in done.stderr) == (1, True)
    assert "default/kubelet" not in machine.etc()


def test_the_image_is_imported_under_the_manifests_name(machine: Machine) -> None:
    done = machine.run("image")
    assert (done.returncode, "make image" in done.stderr) == (1, True)
    assert machine.asked() == ["ctr --namespace k8s.io images list --quiet"]

    manifest = machine.folder / "tree/deploy/manifests/sluiceway.yaml"
    (image,) = set(re.findall(r"image: (\S+)", manifest.read_text()))
    (machine.folder / f"tree/dist/{image.replace(':', '-')}.oci.tar").touch()
    assert machine.run("image").returncode == 0
    assert f"--index-name docker.io/library/{image} dist/" in machine.asked()[0]


def test_an_image_of_the_boxs_needs_no_archive(machine: Machine) -> None:
    # what comes behind it is read too, else a ctr that is slow ends by SIGPIPE
    machine.answer("ctr", "echo docker.io/library/sluiceway:0.1.0; sleep 0.2; echo registry.k8s.io/pause:3.10.2")
    assert machine.run("image").returncode == 0
    assert "import" not in machine.asked()[0]


def test_a_control_plane_is_made_once(machine: Machine) -> None:
    machine.answer("kubeadm", '[[ $1 != "init" ]] || touch /etc/kubernetes/admin.conf')
    assert machine.run("control-plane", ADDRESS, TOKEN).returncode == 0
    init = machine.asked()[-1]
    assert init.startswith("kubeadm init ")
    assert f"--apiserver-advertise-address {ADDRESS} " in init
    assert f"--skip-phases=addon/kube-proxy --token {TOKEN}" in init

    assert machine.run("control-plane", ADDRESS, TOKEN).returncode == 0
    assert machine.asked() == []


def test_a_control_plane_without_a_token_makes_one(machine: Machine) -> None:
    machine.answer("kubeadm", f'[[ $1 != "token" ]] || echo {TOKEN}')
    assert machine.run("control-plane", ADDRESS).returncode == 0
    assert machine.asked()[-1].endswith(f"--token {TOKEN}")


@pytest.mark.parametrize(
    ("more", "trust"),
    [
        pytest.param(["sha256:12"], "--discovery-token-ca-cert-hash sha256:12", id="by the certificate's hash"),
        pytest.param([], "--discovery-token-unsafe-skip-ca-verification", id="by the token alone"),
    ],
)
def test_a_node_joins_once_when_the_api_server_is_there(machine: Machine, more: list[str], trust: str) -> None:
    machine.answer("curl", '[[ $(grep -c ^curl "$MACHINE/asked") == 3 ]]')
    machine.answer("kubeadm", "touch /etc/kubernetes/kubelet.conf")
    assert machine.run("join", ADDRESS, TOKEN, *more).returncode == 0
    asked = machine.asked()
    assert [line.split()[0] for line in asked] == ["curl", "sleep", "curl", "sleep", "curl", "kubeadm"]
    assert asked[-1] == f"kubeadm join {ADDRESS}:6443 --token {TOKEN} {trust}"

    assert machine.run("join", ADDRESS, TOKEN, *more).returncode == 0
    assert machine.asked() == []


def test_the_agent_and_nothing_else_is_told_the_api_servers_address(machine: Machine) -> None:
    machine.answer("kubectl", '[[ $* != "apply -f -" ]] || cat >"$MACHINE/applied"')
    assert machine.run("agent", ADDRESS).returncode == 0
    plain = list(yaml.safe_load_all((machine.folder / "tree/deploy/manifests/sluiceway.yaml").read_text()))
    applied = list(yaml.safe_load_all((machine.folder / "applied").read_text()))
    (daemonset,) = [each for each in plain if each and each["kind"] == "DaemonSet"]
    (agent,) = daemonset["spec"]["template"]["spec"]["containers"]
    agent["args"].append(f"--api-server=https://{ADDRESS}:6443")
    assert applied == plain
    assert [line.split()[1] for line in machine.asked()] == ["apply", "--namespace", "wait"]


def test_the_demo_waits_for_its_nodes_and_passes_where_the_policy_holds(machine: Machine) -> None:
    machine.answer("kubectl", CLUSTER)
    denied = {"DENIED": "wget: download timed out", "STATUS": "1"}
    done = machine.run("demo", "n2", "n3", **denied)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "demo.sh: 'access' reaches nginx, 'other' does not")
    asked = machine.asked()
    assert [line for line in asked if line.startswith("kubectl get node ")] == [
        *["kubectl get node n2"] * 2,
        *["kubectl get node n3"] * 2,
    ]
    runs = [line.split()[2] for line in asked if line.startswith(("kubectl run", "kubectl apply"))]
    assert runs == ["access", "other", "-f", "access", "other", "access"]

    assert machine.run("demo", **denied).returncode == 0
    assert not [line for line in machine.asked() if re.match("kubectl (create|expose)", line)]


@pytest.mark.parametrize(
    ("denied", "status", "sentence"),
    [
        pytest.param("<html>", "0", "does not keep the pod 'other'", id="of a policy that denies nothing"),
        pytest.param("no image", "1", "waited in vain: no image", id="of a pod that could not be made"),
    ],
)
def test_the_demo_fails_for_the_sake(machine: Machine, denied: str, status: str, sentence: str) -> None:
    machine.answer("kubectl", CLUSTER)
    done = machine.run("demo", DENIED=denied, STATUS=status)
    assert (done.returncode, sentence in done.stderr) == (1, True)


def test_a_drained_node_is_given_back(machine: Machine) -> None:
    assert machine.run("drain", "n3").returncode == 0
    assert [line.split()[1:3] for line in machine.asked()] == [
        *(["drain", "n3"], ["rollout", "status"], ["run", "access"], ["uncordon", "n3"]),
    ]


def test_the_agents_are_gone_before_nodes_are_cleaned(machine: Machine) -> None:
    assert machine.run("remove").returncode == 0
    asked = machine.asked()
    manifests = [line for line in asked if "manifests/" in line or "rollout" in line]
    assert [line.split()[1] for line in manifests] == ["delete", "apply", "--namespace", "delete"]
    assert ["sluiceway.yaml" in line for line in manifests] == [True, False, False, False]
    assert asked[asked.index(manifests[0]) - 1] == "sleep 90"  # pods that the agent gave addresses are gone


def test_reset_asks_nobody(machine: Machine) -> None:
    assert machine.run("reset").returncode == 0
    assert machine.asked() == ["kubeadm reset --force"]


def card(machine: Machine, functions: int) -> Path:
    """A sysfs with one igb device whose functions are there already, since no kernel makes them."""
    sysfs = machine.folder / "sys"
    device = sysfs / "devices/0000:01:00.0"
    net = device / "net/ens1"
    net.mkdir(parents=True)
    (net / "address").write_text("52:54:00:00:00:0a\n")
    (net / "carrier").write_text("1\n")
    (net / "device").symlink_to(device)
    for name, value in {"sriov_numvfs": "0", "sriov_drivers_autoprobe": "1"}.items():
        (device / name).write_text(f"{value}\n")
    for number in range(functions):
        function = sysfs / f"devices/0000:01:10.{2 * number}"
        (function / f"net/ens1v{number}").mkdir(parents=True)
        (device / f"virtfn{number}").symlink_to(f"../{function.name}")
    for link, target in {"class/net/ens1": net, "bus/pci/drivers/igb/0000:01:00.0": device}.items():
        (sysfs / link).parent.mkdir(parents=True)
        (sysfs / link).symlink_to(target)
    return sysfs


def test_functions_have_their_addresses_before_a_driver_and_are_listed(machine: Machine) -> None:
    sysfs = card(machine, 2)
    machine.answer(
        "ip", 'echo "autoprobe $(<"$SYSFS/class/net/ens1/device/sriov_drivers_autoprobe")" >>"$MACHINE/asked"'
    )
    done = machine.run("sriov", SYSFS=str(sysfs))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["ens1 virtfn0 0000:01:10.0 ens1v0", "ens1 virtfn1 0000:01:10.2 ens1v1"]
    assert machine.asked() == [
        *("modprobe igb", "modprobe igbvf", "ip link set ens1 up", "autoprobe 1"),
        *("ip link set ens1 vf 0 mac 02:00:00:00:00:0a", "autoprobe 0"),
        *("ip link set ens1 vf 1 mac 02:01:00:00:00:0a", "autoprobe 0"),
        *("udevadm settle", "ip link show dev ens1", "autoprobe 1"),
    ]
    assert (sysfs / "devices/0000:01:00.0/sriov_numvfs").read_text() == "2\n"
    assert (sysfs / "bus/pci/drivers_probe").read_text() == "0000:01:10.2\n"

    again = machine.run("sriov", SYSFS=str(sysfs))
    assert again.stdout == done.stdout
    assert machine.asked() == [
        "modprobe igb",
        "modprobe igbvf",
        "udevadm settle",
        "ip link show dev ens1",
        "autoprobe 1",
    ]


@pytest.mark.parametrize("count", ["0", "8", "two"])
def test_no_card_has_as_many_functions(machine: Machine, count: str) -> None:
    assert machine.run("sriov", count).returncode == 2


def test_a_machine_without_such_a_device_says_so(machine: Machine) -> None:
    done = machine.run("sriov", SYSFS=str(machine.folder / "sys"))
    assert (done.returncode, "no device of igb" in done.stderr) == (1, True)
