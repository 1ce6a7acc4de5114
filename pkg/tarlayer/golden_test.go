package tarlayer

// golden is what format 3 gives for sample.
const golden = `digest fcb685c38f76b9d2ee1b3aa190770736f65702cb70d21974b65122e3724f19fa
diffID f87991baf977ec4bf260c9cb8de70f888d6d3bd1ae1d677c3838efa69faf3ea8
2907832 of 8828416 bytes`

// goldenZstd is what format 3 gives for it with zstd.
const goldenZstd = `digest 88ce308924f445b1bde493567599dd28f5c4d2d0597f2779b83cd747730c2b7f
diffID f87991baf977ec4bf260c9cb8de70f888d6d3bd1ae1d677c3838efa69faf3ea8
2861427 of 8828416 bytes`
