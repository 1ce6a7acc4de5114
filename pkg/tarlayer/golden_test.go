package tarlayer

// golden is what format 3 gives for sample.
const golden = `digest 01ba6595b17e374fcadaa8a5e7c00c18a7baffb26cbde5387c1072a189fddcd5
diffID f87991baf977ec4bf260c9cb8de70f888d6d3bd1ae1d677c3838efa69faf3ea8
2907697 of 8828416 bytes`

// goldenZstd is what format 3 gives for it with zstd.
const goldenZstd = `digest 88ce308924f445b1bde493567599dd28f5c4d2d0597f2779b83cd747730c2b7f
diffID f87991baf977ec4bf260c9cb8de70f888d6d3bd1ae1d677c3838efa69faf3ea8
2861427 of 8828416 bytes`
