# A repository with a package in a folder, and another one as a whole on a branch.
set -e
repo=$ORACLE_CACHE/repository
if [ ! -d "$repo" ]; then
  new=$(mktemp -d "$ORACLE_CACHE/new.XXXXXX")
  git="git -C $new -c user.name=x -c user.email=x@example.org"
  package() {
    mkdir -p "$new/$1/src/$2"
    printf '[project]\nname = "%s"\nversion = "0.9"\nrequires-python = ">=3.11"\ndependencies = ["six"]\n[build-system]\nrequires = ["uv_build>=0.9,<1"]\nbuild-backend = "uv_build"\n' "$2" >"$new/$1/pyproject.toml"
    echo "x = 1" >"$new/$1/src/$2/__init__.py"
  }
  export GIT_COMMITTER_DATE='2024-01-01T00:00:00Z' GIT_AUTHOR_DATE='2024-01-01T00:00:00Z'
  $git init -q -b main
  package python/gitlib gitlib
  $git add . && $git commit -q -m one && $git tag v1
  $git checkout -q -b whole && $git rm -q -r python && package . whole && $git add . && $git commit -q -m two
  $git checkout -q main
  mv "$new" "$repo"
fi
sed -i "s|REPO|file://$repo|" pyproject.toml
