//! Convolutions.

use super::{Case, PLAIN};
use crate::kernels::conv2d::ConvForm;
use crate::program::Element::F32 as Float;

#[test]
fn convolution() {
    for format in PLAIN {
        for form in [ConvForm::Same, ConvForm::Upsample, ConvForm::Downsample] {
            for (images, height, width, cin, cout) in
                [(1, 2, 2, 1, 1), (2, 8, 6, 3, 32), (1, 10, 12, 32, 3), (1, 9, 7, 16, 65), (3, 5, 4, 6, 10)]
            {
                for accumulate in [false, true] {
                    Case { tolerance: 3e-5, ..Case::default() }.check(format, |b| {
                        let x = b.state("x", images * height * width, cin, Float);
                        let (h, w) = form.output_size(height, width);
                        let y = b.state("y", images * h * w, cout, Float);
                        b.conv3x3_into(x, "c", cout, [images, height, width], form, y, accumulate);
                    });
                }
            }
        }
    }
}
