"""PatchGAN: the discriminator of pix2pix."""

import torch
from torch import Tensor, nn

from spotlight.networks.base import CONV

INSTANCE_NORM: dict[int, type[nn.InstanceNorm2d] | type[nn.InstanceNorm3d]] = {
    2: nn.InstanceNorm2d,
    3: nn.InstanceNorm3d,
}


class PatchGAN(nn.Module):
    """Discriminator of Isola et al. (2017, arXiv:1611.07004) that judges every patch of 70 pixels of one stain.

    Five 4-wide convolutions, the first three of stride 2; leaky ReLU of slope 0.2 between them, behind an instance
    normalisation without weights except after the first. Apart from the means and variances of that, a logit sees
    70 pixels along each axis. With the defaults: 2,763,713 parameters, and 62 x 62 logits for 512 x 512 pixels.

    Parameters
    ----------
    dims : 2 or 3
        Spatial dimensions.
    width : int
        Channels after the first convolution; twice, four and eight times as many after the next.
    in_channels : int
        Channels of the images that it sees beside the stain.

    Examples
    --------
    >>> import torch
    >>> from spotlight.networks import PatchGAN
    >>> image, stain = torch.rand(2, 1, 1, 64, 64)
    >>> tuple(PatchGAN(width=4)(image, stain).shape)  # a verdict for every patch
    (1, 1, 6, 6)
    """

    def __init__(self, dims: int = 2, width: int = 64, in_channels: int = 1) -> None:
        super().__init__()
        conv, norm = CONV[dims], INSTANCE_NORM[dims]
        first = conv(1 + in_channels, width, 4, stride=2, padding=1)
        layers: list[nn.Module] = [first, nn.LeakyReLU(0.2, inplace=True)]
        for inputs, stride in ((width, 2), (2 * width, 2), (4 * width, 1)):
            layers.append(conv(inputs, 2 * inputs, 4, stride=stride, padding=1))
            layers += [norm(2 * inputs), nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers, conv(8 * width, 1, 4, padding=1))

    def forward(self, x: Tensor, stain: Tensor) -> Tensor:
        """Judge stains beside the images that they are of.

        Parameters
        ----------
        x : (B, in_channels, [Z,] Y, X) tensor
            What the generator sees; at least 24 pixels along every axis.
        stain : (B, 1, [Z,] Y, X) tensor
            The true stain or the generator's.

        Returns
        -------
        (B, 1, [Z',] Y', X') tensor
            Logits, positive for "true"; N pixels along an axis give N // 8 - 2.
        """
        return self.layers(torch.cat((x, stain), dim=1))  # type: ignore[no-any-return]
