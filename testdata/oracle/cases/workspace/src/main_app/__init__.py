from lib_a import a
