#!/usr/bin/python3
"""usage: guest.py FOLDER COMMAND...

Goal    a test passes under the kernel that Debian 12 has, on a machine that swaps, wherever this is
        run.
Method  Debian's kernel is unpacked below FOLDER and booted by qemu, without acceleration, with an
        initramfs of a busybox, the modules it takes and `init`. The guest's files are the host's
        own, by 9p, to be read alone; it runs COMMAND and its status is this one's.
"""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77
SWAP_BYTES = 1 << 30
MEMORY = "1G"
MODULES = ("virtio_pci", "virtio_blk", "9pnet_virtio", "9p")


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def fetch(package, folder):
    """Debian's package, unpacked: to install a kernel or a busybox would change the host."""
    unpacked = folder / package
    if not unpacked.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        fetched = subprocess.run(["apt-get", "-q", "download", package], cwd=folder, check=False)
        if fetched.returncode != 0:
            skip(f"{package} cannot be fetched")
        archive, = folder.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, f"{unpacked}.part"], check=True)
        archive.unlink()
        os.rename(f"{unpacked}.part", unpacked)
    return unpacked


def kernel_package():
    """What the package that is always of the newest kernel depends on."""
    text = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    found = re.search(r"Depends: (linux-image-\d\S+)", text)
    if found is None:
        skip("there is no Debian kernel for this machine")
    return found[1]


def modules_in_order(root, busybox):
    """Paths of MODULES and all that they need, what is needed first."""
    version = next((root / "lib/modules").iterdir()).name
    subprocess.run([busybox, "depmod", "-b", root, version], check=True)
    base = root / "lib/modules" / version
    needs = {}
    for line in (base / "modules.dep").read_text("ascii").splitlines():
        path, _, needed = line.partition(":")
        needs[path.removeprefix(f"/lib/modules/{version}/")] = needed.split()
    order = []

    def add(path):
        if path in order:
            return
        for needed in needs[path]:
            add(needed.removeprefix(f"/lib/modules/{version}/"))
        order.append(path)

    built_in = (base / "modules.builtin").read_text("ascii")
    for name in MODULES:
        if f"/{name}.ko" not in built_in:
            add(next(path for path in needs if path.endswith(f"/{name}.ko")))
    return [base / path for path in order]


def make_initramfs(folder, root, busybox, command):
    """As cpio(1) of the format that the kernel reads; the busybox is one that can write it."""
    tree = folder / "initramfs"
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("bin", "modules", "dev"):
        (tree / name).mkdir(parents=True)
    shutil.copy(busybox, tree / "bin/busybox")
    shutil.copy(HERE / "init", tree / "init")
    (tree / "init").chmod(0o755)
    modules = modules_in_order(root, busybox)
    for path in modules:
        shutil.copy(path, tree / "modules")
    (tree / "modules/order").write_text("".join(f"{path.name}\n" for path in modules), "ascii")
    (tree / "command").write_text(shlex.join(command), "utf-8")
    names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
    image = folder / "initramfs.cpio"
    with open(image, "wb") as file:
        subprocess.run([busybox, "cpio", "-o", "-H", "newc"], cwd=tree, input=names.encode(),
                       stdout=file, check=True)
    return image


def boot(folder, kernel, image):
    swap = folder / "swap"
    with open(swap, "wb") as file:
        file.truncate(SWAP_BYTES)
    return subprocess.Popen(
        ["qemu-system-x86_64", "-machine", "q35", "-cpu", "max", "-smp", "2", "-m", MEMORY,
         "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
         "-kernel", kernel, "-initrd", image,
         "-append", "console=ttyS0 panic=-1 quiet psi=1",
         "-drive", f"file={swap},if=virtio,format=raw,cache=unsafe",
         "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace")


def main(folder, *command):
    if os.geteuid() != 0:
        skip("needs root, as what runs in the guest reads all of the host's files")
    if shutil.which("qemu-system-x86_64") is None:
        skip("there is no qemu-system-x86_64: scripts/deps guest")
    folder = pathlib.Path(folder)
    busybox = fetch("busybox-static", folder) / "bin/busybox"
    root = fetch(kernel_package(), folder)
    kernel, = (root / "boot").glob("vmlinuz-*")
    print(f"booting {kernel.name}", flush=True)
    machine = boot(folder, kernel, make_initramfs(folder, root, busybox, command))
    status = None
    try:
        for line in machine.stdout:
            print(line, end="", flush=True)
            found = re.match(r"guest: status (\d+)", line)
            status = int(found[1]) if found else status
    finally:
        machine.kill()
        machine.wait()
        (folder / "swap").unlink()
    if status is None:
        print("the guest ended without a word")
    return 1 if status is None else status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
