# python_confine.py MEMORY_BYTES PROGRAM
#
# Gives up, for good and for every process that comes from this one, what Python user code has no use for; then runs
# PROGRAM in this process. Works without any of it where the system has no such means. With PROGRAM left out it prints
# what is in force, a word a line.
#
# What the namespaces around leave open, and is closed here: sockets that reach the hypervisor, memory that belongs to
# no process and so to no limit, the executor's key ring, other processes' memory, and the kernel's rarer doors.
import os
import sys

KILO = 1024
MEGA = 1024 * KILO

# What the interpreter itself has put there when it started.
os.environ.clear()
# Libraries would start a thread for each processor of the host, and reserve memory for each.
for name in ("OPENBLAS", "OMP", "MKL", "NUMEXPR", "VECLIB"):
    os.putenv(name + "_NUM_THREADS", "1")

EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
NEW_NAMESPACES = 0x7E020000

# The same on every architecture since Linux 5.1: io_uring_setup/enter/register, open_tree, move_mount, fsopen,
# fsconfig, fsmount, fspick, pidfd_getfd, process_madvise, mount_setattr, memfd_secret.
NEWER = [425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 447]

SYSTEMS = {
    "x86_64": {
        "audit": 0xC000003E,
        "clone": 56,
        "clone3": 435,
        "socket": 41,
        "refused": [
            *(101, 310, 311, 312),  # ptrace, process_vm_readv, process_vm_writev, kcmp
            *(248, 249, 250),  # add_key, request_key, keyctl
            *(321, 298, 323),  # bpf, perf_event_open, userfaultfd
            *(272, 308, 165, 166, 155, 161),  # unshare, setns, mount, umount2, pivot_root, chroot
            *(319, 29, 30, 31, 67),  # memfd_create, shmget, shmat, shmctl, shmdt
            *(68, 69, 70, 71, 64, 65, 66, 220, 240),  # msg*, sem*, mq_open
            *(303, 304, 135, 103),  # name_to_handle_at, open_by_handle_at, personality, syslog
            *(246, 320, 175, 313, 176),  # kexec_load, kexec_file_load, init_module, finit_module, delete_module
        ],
    },
    "aarch64": {
        "audit": 0xC00000B7,
        "clone": 220,
        "clone3": 435,
        "socket": 198,
        "refused": [
            *(117, 270, 271, 272),
            *(217, 218, 219),
            *(280, 241, 282),
            *(97, 268, 40, 39, 41, 51),
            *(279, 194, 196, 195, 197),
            *(186, 189, 188, 187, 190, 193, 191, 192, 180),
            *(264, 265, 92, 116),
            *(104, 294, 105, 273, 106),
        ],
    },
}


def limit_resources(memory_bytes):
    try:
        import resource
    except ImportError:  # not on this platform
        return
    wanted = {
        # Private memory. Address space is more, because libraries are mapped and threads reserve what they never use.
        "RLIMIT_DATA": memory_bytes,
        "RLIMIT_AS": memory_bytes + 1024 * MEGA,
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": 64 * MEGA,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_MEMLOCK": 64 * KILO,
        "RLIMIT_MSGQUEUE": 0,
    }
    for name, value in wanted.items():
        what = getattr(resource, name, None)
        if what is None:
            continue
        _, hard = resource.getrlimit(what)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(what, (value, value))
        except (ValueError, OSError):
            pass  # the host forbids it: the layers outside still hold


def program_of(system):
    """The filter, as the kernel reads it: code, jump if true, jump if false, operand."""
    load, equal, any_bit, at_least, answer = 0x20, 0x15, 0x45, 0x35, 0x06
    allow, kill, error = 0x7FFF0000, 0x80000000, 0x00050000
    steps = [
        (load, 0, 0, 4),
        (equal, 1, 0, system["audit"]),
        (answer, 0, 0, kill),  # another architecture's numbers mean other calls
        (load, 0, 0, 0),
        # The x32 numbers of x86_64: the same calls under other numbers.
        (at_least, 0, 1, 0x40000000),
        (answer, 0, 0, error | ENOSYS),
    ]
    for number in system["refused"] + NEWER:
        steps += [(equal, 0, 1, number), (answer, 0, 0, error | EPERM)]
    # Its flags lie in memory, where no filter can look; libraries fall back to clone.
    steps += [(equal, 0, 1, system["clone3"]), (answer, 0, 0, error | ENOSYS)]
    steps += [
        (equal, 0, 4, system["clone"]),
        (load, 0, 0, 16),
        (any_bit, 0, 1, NEW_NAMESPACES),
        (answer, 0, 0, error | EPERM),
        (answer, 0, 0, allow),
    ]
    families = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK]
    steps += [(equal, 0, len(families) + 2, system["socket"]), (load, 0, 0, 16)]
    steps += [(equal, len(families) - i, 0, family) for i, family in enumerate(families)]
    steps += [(answer, 0, 0, error | EAFNOSUPPORT), (answer, 0, 0, allow)]
    return steps


def filter_system_calls():
    try:
        import ctypes
        import struct

        system = SYSTEMS.get(os.uname().machine)
        if not sys.platform.startswith("linux") or system is None or sys.maxsize < 2**32:
            return
        steps = b"".join(struct.pack("=HBBI", *step) for step in program_of(system))
        instructions = ctypes.create_string_buffer(steps, len(steps))
        head = struct.pack("=H6xQ", len(steps) // 8, ctypes.addressof(instructions))
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        set_no_new_privileges, set_filter, filter_mode = 38, 22, 2
        prctl(set_no_new_privileges, 1, 0, 0, 0)
        prctl(set_filter, filter_mode, ctypes.c_char_p(head), 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # a Python or a system without it: the layers outside still hold


def print_what_holds():
    try:
        import resource

        if resource.getrlimit(resource.RLIMIT_NOFILE)[1] == 64:
            print("python-limits")
    except ImportError:
        pass  # not on this platform
    try:
        os.close(os.memfd_create("probe"))
    except PermissionError:
        print("python-system-call-filter")
    except (AttributeError, OSError):
        pass  # the call is not there to be refused


memory_bytes, *program = sys.argv[1:]
# Files that libraries of the executor had open when it started this process; 3 is for replies.
os.closerange(4, 1 << 16)
limit_resources(int(memory_bytes))
filter_system_calls()
if program:
    sys.argv[:] = program
    with open(program[0], "rb") as source:
        text = source.read()
    exec(compile(text, program[0], "exec"), {"__name__": "__main__", "__file__": program[0], "__builtins__": __builtins__})
else:
    print_what_holds()
