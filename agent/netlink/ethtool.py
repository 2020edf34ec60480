"""What ethtool sets at a device, in the calling thread's network namespace: one number by one ioctl."""

import array
import fcntl
import socket
import struct

SIOCETHTOOL = 0x8946  # linux/sockios.h
# linux/ethtool.h
ETHTOOL_STXCSUM = 0x17
ETHTOOL_GFLAGS, ETHTOOL_SFLAGS, ETH_FLAG_RXVLAN = 0x25, 0x26, 1 << 8
_VALUE = struct.Struct("=II")  # struct ethtool_value: command, data
_REQUEST = struct.Struct("16sP16x")  # struct ifreq: name, pointer


def ethtool(device: str, command: int, data: int) -> int:
    """Give a command its number; what the kernel leaves in its place.

    Raises:
        OSError: the driver refuses, or there is no such device.
    """
    value = array.array("B", _VALUE.pack(command, data))
    request = _REQUEST.pack(device.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, SIOCETHTOOL, request)
    return int(_VALUE.unpack(value.tobytes())[1])
