# The URL is the index's own, found by locking: no file here names a host.
set -e
mkdir -p .find
printf '[project]\nname = "find"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["iniconfig"]\n' >.find/pyproject.toml
"$UV" lock -q --project .find --python "$PYTHON"
at=$(grep -o 'https://[^"]*iniconfig[^"]*\.whl' .find/uv.lock)
sed -i "s|URL|$at|" pyproject.toml
rm -r .find
