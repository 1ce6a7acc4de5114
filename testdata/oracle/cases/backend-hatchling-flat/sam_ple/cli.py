def main():
    print("sample")
