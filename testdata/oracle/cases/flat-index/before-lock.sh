# Wheels of one version that differ in their build tags, and one that is named by its path.
set -e
mkdir -p wheels elsewhere
"$PYTHON" -I - <<'X'
import zipfile


def wheel(folder, name, tag, text):
    with zipfile.ZipFile(f"{folder}/{name}-1.0{tag}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as z:
        for path, data in {
            f"{name}.py": text,
            f"{name}-1.0.data/scripts/{name}-run": "#!python -E\nprint(1)\n",
            f"{name}-1.0.data/scripts/{name}.sh": "#!/bin/sh\necho 1\n",
            f"{name}-1.0.data/data/share/{name}/x.json": "{}\n",
            f"{name}-1.0.data/headers/{name}.h": "#define X 1\n",
            f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            f"{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{name}-1.0.dist-info/entry_points.txt": f"[console_scripts]\n{name} = {name}:main.run [x]\n\n[gui_scripts]\n{name}-gui = {name}:main\n",
            f"{name}-1.0.dist-info/RECORD": f"{name}.py,,\nabsent.py,,\n{name}-1.0.dist-info/RECORD,,\n",
        }.items():
            info = zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0))
            info.external_attr = (0o755 if path.endswith("RECORD") else 0o644) << 16
            z.writestr(info, data, zipfile.ZIP_DEFLATED)


wheel("wheels", "tagged", "", "tag = None\n")
wheel("wheels", "tagged", "-1", "tag = 1\n")
wheel("wheels", "tagged", "-10abc", "tag = 10\n")
wheel("wheels", "tagged", "-9", "tag = 9\n")
wheel("elsewhere", "local", "", "x = 1\n")
X
