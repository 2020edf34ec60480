"""What is said of pods' devices, in errors and in the log."""

from agent.kernel.device.pci import DeviceRefused
from agent.pods.device.record import DeviceRecord
from agent.pods.errors import DeviceUnusable, InterfaceTaken


def meant(record: DeviceRecord, error: Exception) -> Exception:
    """What a failed ADD is told as."""
    match error:
        case DeviceRefused():
            return DeviceUnusable(str(error))
        case FileExistsError():
            return InterfaceTaken(f"{record.interface} exists already in {record.netns}")
        case ValueError():
            return DeviceUnusable(f"ipam: the plugin's answer cannot be used: {error}")
        case _:
            return error


def whose(record: DeviceRecord) -> str:
    """What a pod's device is in messages."""
    return f"{record.interface} of {record.pod or record.container_id}"


def names_of(record: DeviceRecord) -> dict[str, object]:
    """What a log line says of one."""
    return {"pod": str(record.pod or record.container_id), "interface": record.interface, "device": record.address}
