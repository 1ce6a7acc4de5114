from lib_b import b

a = b + 1


def main():
    print(a)
